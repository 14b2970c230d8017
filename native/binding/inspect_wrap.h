// Inspects the files of a checkpoint without loading it. lib/native/checkpoint.ts has the types.
//
//   inspect(path) → promise<summary>
#pragma once
#include <napi.h>

namespace oss {

void init_inspect(Napi::Env env, Napi::Object exports);

}  // namespace oss
