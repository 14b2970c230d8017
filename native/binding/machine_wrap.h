// Information that needs no engine: backends, resources that the process may use, its environment, error codes.
#pragma once
#include <napi.h>

namespace oss {

void init_machine(Napi::Env env, Napi::Object exports);

}  // namespace oss
