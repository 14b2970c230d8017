#include "native/binding/bandwidth.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "native/base/bandwidth.h"
#include "native/binding/errors.h"

namespace oss {

// memoryBandwidth(bytes, threads): the median of 7 passes.
static Napi::Value memory_bandwidth(const Napi::CallbackInfo& call) {
  return guarded(call.Env(), [&] {
    const std::vector<uint64_t> words(size_t(call[0].As<Napi::Number>().Int64Value()) / sizeof(uint64_t), 1);
    const int threads = std::max(1, call[1].As<Napi::Number>().Int32Value());
    std::array<double, 7> rates;
    for (double& rate : rates) rate = read_bandwidth(words, threads);
    std::ranges::sort(rates);
    return Napi::Number::New(call.Env(), rates[rates.size() / 2]);
  });
}

void init_bandwidth(Napi::Env env, Napi::Object exports) {
  exports.Set("memoryBandwidth", Napi::Function::New<memory_bandwidth>(env));
}

}  // namespace oss
