// The rate of multiplications and additions when all values are in registers: the roofs of compute-bound operations.
#pragma once
#include <stdint.h>

#include <algorithm>
#include <chrono>
#include <thread>
#include <vector>

namespace oss::bench {

enum class Unit { kFloat32, kFloat32Avx2, kBf16, kInt8, kBf16Matrix, kInt8Matrix };

struct PeakLoop {
  const char* instruction;
  double operations;            // of one round; a multiplication and an addition are two
  void (*run)(int64_t rounds);  // on the calling thread
};

// Null if the processor has no such unit, or if the compiler does not support it. peaks.cpp is compiled for the machine
// that it is built on.
const PeakLoop* peak_loop(Unit unit);

// The best of five tries of `seconds` each, all threads together.
inline double operations_per_second(const PeakLoop& loop, int num_threads, double seconds) {
  using Clock = std::chrono::steady_clock;
  constexpr int64_t kRounds = 2'000;  // some ten microseconds
  double best = 0;
  for (int repeat = 0; repeat < 5; ++repeat) {
    std::vector<std::thread> threads;
    std::vector<int64_t> rounds(size_t(num_threads), 0);
    const auto start = Clock::now();
    const auto elapsed = [start] { return std::chrono::duration<double>(Clock::now() - start).count(); };
    for (int64_t& count : rounds) {
      threads.emplace_back([&] {
        int64_t done = 0;
        for (; elapsed() < seconds; done += kRounds) loop.run(kRounds);
        count = done;
      });
    }
    for (std::thread& thread : threads) thread.join();
    int64_t total = 0;
    for (const int64_t count : rounds) total += count;
    best = std::max(best, loop.operations * double(total) / elapsed());
  }
  return best;
}

}  // namespace oss::bench
