// Operations per second of int8 dot products in registers, with the best vector instruction that the compiler supports
// on this processor. This is the roof of a prefill with int8 activations.
//   c++ -O2 -std=c++20 -march=native -pthread peak.cpp -o peak && ./peak THREADS     prints one JSON object
// Matrix units (AMX) are faster and not measured.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

// A unit: the type of its sums, the type of its factors (both filled with ones), and its instruction. OSS_KEEP hides the
// factors: otherwise the compiler sees equal products and computes one of them.
#if defined(__AVX512VNNI__)
#include <immintrin.h>
#define OSS_KEEP(value) asm volatile("" : "+x"(value))
struct Int8 {
  static constexpr char kInstruction[] = "avx512 vpdpbusd";
  static constexpr int kOperations = 2 * 64, kSums = 12;  // latency 5, two per cycle: ten would do
  using Sum = __m512i;
  using Factor = __m512i;
  static Factor factor() { return _mm512_set1_epi8(1); }
  static Sum dot(Sum sum, Factor a, Factor b) { return _mm512_dpbusd_epi32(sum, a, b); }
};
#elif defined(__AVX2__)
#include <immintrin.h>
#define OSS_KEEP(value) asm volatile("" : "+x"(value))
struct Int8 {
  static constexpr int kOperations = 2 * 32, kSums = 12;
  using Sum = __m256i;
  using Factor = __m256i;
  static Factor factor() { return _mm256_set1_epi8(1); }
#if defined(__AVXVNNI__)
  static constexpr char kInstruction[] = "avx vpdpbusd";
  static Sum dot(Sum sum, Factor a, Factor b) { return _mm256_dpbusd_avx_epi32(sum, a, b); }
#else
  static constexpr char kInstruction[] = "avx2 vpmaddubsw";
  static Sum dot(Sum sum, Factor a, Factor b) {
    return _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), _mm256_set1_epi16(1)));
  }
#endif
};
#elif defined(__ARM_FEATURE_DOTPROD)
#include <arm_neon.h>
#define OSS_KEEP(value) asm volatile("" : "+w"(value))
struct Int8 {
  static constexpr char kInstruction[] = "neon sdot";
  static constexpr int kOperations = 2 * 16, kSums = 16;  // latency 4, four per cycle
  using Sum = int32x4_t;
  using Factor = int8x16_t;
  static Factor factor() { return vdupq_n_s8(1); }
  static Sum dot(Sum sum, Factor a, Factor b) { return vdotq_s32(sum, a, b); }
};
#else
int main() { std::puts("null"); }
#define OSS_NO_INT8
#endif

#if !defined(OSS_NO_INT8)
static void repeat(int64_t rounds) {
  Int8::Sum sums[Int8::kSums] = {};
  Int8::Factor a = Int8::factor(), b = Int8::factor();
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 16
    for (auto& sum : sums) {
      OSS_KEEP(a);
      OSS_KEEP(b);
      sum = Int8::dot(sum, a, b);
    }
  }
  for (auto& sum : sums) OSS_KEEP(sum);
}

// The best of five tries of a tenth of a second each, all threads together.
static double operations_per_second(int num_threads) {
  using Clock = std::chrono::steady_clock;
  constexpr int64_t kRounds = 2'000;  // some ten microseconds
  double best = 0;
  for (int tries = 0; tries < 5; ++tries) {
    std::vector<std::thread> threads;
    std::vector<int64_t> rounds(size_t(num_threads), 0);
    const auto start = Clock::now();
    const auto elapsed = [start] { return std::chrono::duration<double>(Clock::now() - start).count(); };
    for (int64_t& count : rounds) {
      threads.emplace_back([&] {
        int64_t done = 0;
        for (; elapsed() < 0.1; done += kRounds) repeat(kRounds);
        count = done;
      });
    }
    for (std::thread& thread : threads) thread.join();
    int64_t total = 0;
    for (const int64_t count : rounds) total += count;
    best = std::max(best, double(total) * Int8::kSums * Int8::kOperations / elapsed());
  }
  return best;
}

int main(int count, char** arguments) {
  const int threads = count > 1 ? std::max(1, std::atoi(arguments[1])) : 1;
  std::printf("{\"instruction\": \"%s\", \"operationsPerSecond\": %.4g}\n", Int8::kInstruction,
              operations_per_second(threads));
}
#endif
