// Plans the memory of an engine from a config. lib/native/plan.ts has the types.
//
//   planModel(query) → promise<plan>
#pragma once
#include <napi.h>

namespace oss {

void init_plan(Napi::Env env, Napi::Object exports);

}  // namespace oss
