// sample(logits, params, position, context?): draws once, as the CPU backend does. lib/native/request.ts has the types.
#pragma once
#include <napi.h>

namespace oss {

void init_sampling(Napi::Env env, Napi::Object exports);

}  // namespace oss
