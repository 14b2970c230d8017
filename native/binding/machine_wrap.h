// What the addon tells without an engine: backends, what the process may use of the machine, its environment, error codes.
#pragma once
#include <napi.h>

namespace oss {

void init_machine(Napi::Env env, Napi::Object exports);

}  // namespace oss
