#include "native/binding/bandwidth.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "native/base/bandwidth.h"

namespace oss {

// memoryBandwidth(bytes, threads)
static Napi::Value memory_bandwidth(const Napi::CallbackInfo& call) {
  const std::vector<uint64_t> words(size_t(call[0].As<Napi::Number>().Int64Value()) / sizeof(uint64_t), 1);
  const int threads = std::max(1, call[1].As<Napi::Number>().Int32Value());
  return Napi::Number::New(call.Env(), read_bandwidth(words, threads));
}

void init_bandwidth(Napi::Env env, Napi::Object exports) {
  exports.Set("memoryBandwidth", Napi::Function::New<memory_bandwidth>(env));
}

}  // namespace oss
