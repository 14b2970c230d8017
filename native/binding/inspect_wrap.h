// A checkpoint's files, looked at without loading them. lib/binding.ts types what is registered here.
//
//   inspect(path) → promise<summary>
#pragma once
#include <napi.h>

namespace oss {

void init_inspect(Napi::Env env, Napi::Object exports);

}  // namespace oss
