// The roofs of the CPU, with the threads that steps use.
#include <algorithm>
#include <chrono>
#include <span>
#include <vector>

#include "kernels/common/synthetic.h"
#include "native/backend/cpu/cpu_backend.h"
#include "native/base/bandwidth.h"
#include "native/base/made_memory.h"

namespace oss {

using Clock = std::chrono::steady_clock;

// All threads together, each for so many seconds.
static double flops_per_second(double (*peak)(int64_t rounds), ThreadPool& pool, double seconds) {
  constexpr int64_t kRounds = 2'000;  // some ten microseconds
  double best = 0;
  for (int tries = 0; tries < kPeakTries; ++tries) {
    std::vector<double> flops(size_t(pool.size()), 0.0);
    const auto start = Clock::now();
    const auto elapsed = [start] { return std::chrono::duration<double>(Clock::now() - start).count(); };
    pool.parallel_for(pool.size(), 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) {
        do flops[size_t(i)] += peak(kRounds);
        while (elapsed() < seconds);
      }
    });
    double all = 0;
    for (const double one : flops) all += one;
    best = std::max(best, all / elapsed());
  }
  return best;
}

Peaks CpuBackend::peaks(size_t cold_bytes, double seconds) {
  Peaks peaks;
  // In huge pages, as made weights are.
  MadeMemory memory;
  HostTensor words;
  words.name = "the roof of memory";
  words.bytes = std::max<size_t>(cold_bytes, 1 << 20) / 8 * 8;
  words.synthetic = {.kind = kSyntheticCodes, .key = 1, .scale = 0};
  const std::span<const uint64_t> made = {memory.materialize(words, pool_).as<uint64_t>(), words.bytes / 8};
  for (int pass = 0; pass < kPeakPasses; ++pass)
    peaks.bytes_per_second = std::max(peaks.bytes_per_second, read_bandwidth(made, pool_.size()));
  peaks.bytes_by = "a loop that reads, the best of 7 passes";
  peaks.float32 = {kernels_.peak_instruction, flops_per_second(kernels_.peak, pool_, seconds)};
  if (bf16_ != nullptr) peaks.bf16 = {bf16_->peak_instruction, flops_per_second(bf16_->peak, pool_, seconds)};
  return peaks;
}

}  // namespace oss
