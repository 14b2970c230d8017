// sample(logits, params, position, context?): one draw, as the CPU backend makes it. lib/binding.ts has the types.
#pragma once
#include <napi.h>

namespace oss {

void init_sampling(Napi::Env env, Napi::Object exports);

}  // namespace oss
