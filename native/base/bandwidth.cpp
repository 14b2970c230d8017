#include "native/base/bandwidth.h"

#include <chrono>
#include <vector>

#include "native/base/thread.h"

namespace oss {

// Sums 64-bit words in 8 independent streams. They keep enough loads in flight, and the additions cost nothing beside
// them.
static uint64_t sum_words(const uint64_t* words, size_t count) {
  uint64_t sums[8] = {};
  for (size_t i = 0; i + 8 <= count; i += 8) {
    for (int lane = 0; lane < 8; ++lane) sums[lane] += words[i + lane];
  }
  return sums[0] + sums[1] + sums[2] + sums[3] + sums[4] + sums[5] + sums[6] + sums[7];
}

double read_bandwidth(std::span<const uint64_t> words, int threads) {
  const auto start = std::chrono::steady_clock::now();
  std::vector<uint64_t> sums(threads);
  std::vector<Thread> workers;  // declared last, so that they are joined first
  workers.reserve(size_t(threads));
  for (int t = 0; t < threads; ++t) {
    const size_t begin = words.size() * t / threads, end = words.size() * (t + 1) / threads;
    workers.emplace_back("gpt-oss reader",
                         [&, t, begin, end] { sums[t] = sum_words(words.data() + begin, end - begin); });
  }
  workers.clear();
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  volatile uint64_t sink = 0;
  for (const uint64_t sum : sums) sink = sink + sum;
  return double(words.size_bytes()) / elapsed.count();
}

}  // namespace oss
