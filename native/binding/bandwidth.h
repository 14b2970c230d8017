// memoryBandwidth(bytes, threads) → bytes per second: the limit with which the benches compare their results.
#pragma once
#include <napi.h>

namespace oss {

void init_bandwidth(Napi::Env env, Napi::Object exports);

}  // namespace oss
