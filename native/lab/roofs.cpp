#include "native/lab/roofs.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "kernels/common/synthetic.h"
#include "native/backend/cpu/choose_kernels.h"
#include "native/base/bandwidth.h"
#include "native/base/made_memory.h"
#include "native/base/thread_pool.h"

namespace oss::lab {
namespace {

using Clock = std::chrono::steady_clock;

// The best of five tries, all threads together.
double flops_per_second(double (*peak)(int64_t rounds), ThreadPool& pool, double seconds) {
  constexpr int64_t kRounds = 2'000;  // some ten microseconds
  double best = 0;
  for (int tries = 0; tries < 5; ++tries) {
    std::vector<double> flops(size_t(pool.size()), 0.0);
    const auto start = Clock::now();
    const auto elapsed = [start] { return std::chrono::duration<double>(Clock::now() - start).count(); };
    pool.parallel_for(pool.size(), 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) {
        while (elapsed() < seconds) flops[size_t(i)] += peak(kRounds);
      }
    });
    double all = 0;
    for (const double one : flops) all += one;
    best = std::max(best, all / elapsed());
  }
  return best;
}

Roofs cpu_roofs(Lab& lab, size_t cold_bytes, double seconds) {
  ThreadPool pool(lab.info().threads);
  Roofs roofs;
  // In huge pages, as weights of the lab are.
  MadeMemory memory;
  HostTensor words;
  words.name = "the roof of memory";
  words.bytes = std::max<size_t>(cold_bytes, 1 << 20) / 8 * 8;
  words.synthetic = {.kind = kSyntheticCodes, .key = 1, .scale = 0};
  const std::span<const uint64_t> made = {memory.materialize(words, pool).as<uint64_t>(), words.bytes / 8};
  for (int pass = 0; pass < 7; ++pass)
    roofs.bytes_per_second = std::max(roofs.bytes_per_second, read_bandwidth(made, pool.size()));
  roofs.bytes_by = "a loop that reads, the best of 7 passes";
  const cpu::Choice choice = cpu::choose_kernels(lab.options().numerics, lab.options().isa);
  roofs.float32 = {choice.kernels.peak_instruction, flops_per_second(choice.kernels.peak, pool, seconds)};
  if (choice.bf16 != nullptr)
    roofs.bf16 = {choice.bf16->peak_instruction, flops_per_second(choice.bf16->peak, pool, seconds)};
  return roofs;
}

}  // namespace

Roofs measure_roofs(Lab& lab, size_t cold_bytes, double seconds) {
  if (lab.info().backend == "cpu") return cpu_roofs(lab, cold_bytes, seconds);
  return {};
}

}  // namespace oss::lab
