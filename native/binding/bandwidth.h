// memoryBandwidth(bytes, threads) → bytes per second: the roof that the benches hold their figures against.
#pragma once
#include <napi.h>

namespace oss {

void init_bandwidth(Napi::Env env, Napi::Object exports);

}  // namespace oss
