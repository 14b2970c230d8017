// Plans the memory of an engine from a config. lib/binding.ts has the types of the exports below.
//
//   planModel(query) → promise<plan>
#pragma once
#include <napi.h>

namespace oss {

void init_plan(Napi::Env env, Napi::Object exports);

}  // namespace oss
