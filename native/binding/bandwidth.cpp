#include "native/binding/bandwidth.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

namespace oss {
namespace {

// Sums 64-bit words in 8 independent streams: enough loads in flight, and an addition costs nothing beside them.
uint64_t sum_words(const uint64_t* words, size_t count) {
  uint64_t sums[8] = {};
  for (size_t i = 0; i + 8 <= count; i += 8) {
    for (int lane = 0; lane < 8; ++lane) sums[lane] += words[i + lane];
  }
  return sums[0] + sums[1] + sums[2] + sums[3] + sums[4] + sums[5] + sums[6] + sums[7];
}

// Median of 7 reads of the whole buffer, split evenly over the threads.
Napi::Value memory_bandwidth(const Napi::CallbackInfo& call) {
  const size_t words = size_t(call[0].As<Napi::Number>().Int64Value()) / sizeof(uint64_t);
  const int threads = std::max(1, call[1].As<Napi::Number>().Int32Value());
  const std::vector<uint64_t> buffer(words, 1);
  std::vector<double> rates;
  volatile uint64_t sink = 0;
  for (int round = 0; round < 7; ++round) {
    const auto start = std::chrono::steady_clock::now();
    std::vector<std::thread> workers;
    std::vector<uint64_t> sums(threads);
    for (int t = 0; t < threads; ++t) {
      const size_t begin = words * t / threads, end = words * (t + 1) / threads;
      workers.emplace_back([&, t, begin, end] { sums[t] = sum_words(buffer.data() + begin, end - begin); });
    }
    for (std::thread& worker : workers) worker.join();
    for (const uint64_t sum : sums) sink = sink + sum;
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    rates.push_back(double(words * sizeof(uint64_t)) / elapsed.count());
  }
  std::nth_element(rates.begin(), rates.begin() + rates.size() / 2, rates.end());
  return Napi::Number::New(call.Env(), rates[rates.size() / 2]);
}

}  // namespace

void init_bandwidth(Napi::Env env, Napi::Object exports) {
  exports.Set("memoryBandwidth", Napi::Function::New<memory_bandwidth>(env));
}

}  // namespace oss
