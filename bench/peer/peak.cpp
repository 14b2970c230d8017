// Operations per second (a multiplication and an addition are two) of int8 dot products that stay in registers, with the
// best instruction for vectors that the compiler finds on this processor: the roof of a prefill with int8 activations.
//   c++ -O2 -march=native -pthread peak.cpp -o peak && ./peak THREADS      prints one JSON object
// Matrix units (AMX, SME) are further away and not looked at.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__ARM_FEATURE_DOTPROD)
#include <arm_neon.h>
#endif

namespace {

#if defined(__AVX512VNNI__)
constexpr char kInstruction[] = "avx512 vpdpbusd";
using Vector = __m512i;
inline Vector ones() { return _mm512_set1_epi8(1); }
inline Vector dot(Vector sum, Vector a, Vector b) { return _mm512_dpbusd_epi32(sum, a, b); }
#elif defined(__AVXVNNI__)
constexpr char kInstruction[] = "avx vpdpbusd";
using Vector = __m256i;
inline Vector ones() { return _mm256_set1_epi8(1); }
inline Vector dot(Vector sum, Vector a, Vector b) { return _mm256_dpbusd_avx_epi32(sum, a, b); }
#elif defined(__AVX2__)
constexpr char kInstruction[] = "avx2 vpmaddubsw";
using Vector = __m256i;
inline Vector ones() { return _mm256_set1_epi8(1); }
inline Vector dot(Vector sum, Vector a, Vector b) {
  const Vector pairs = _mm256_maddubs_epi16(a, b);
  return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
#elif defined(__ARM_FEATURE_DOTPROD)
constexpr char kInstruction[] = "neon sdot";
using Vector = int8x16_t;
inline Vector ones() { return vdupq_n_s8(1); }
inline Vector dot(Vector sum, Vector a, Vector b) {
  return vreinterpretq_s8_s32(vdotq_s32(vreinterpretq_s32_s8(sum), a, b));
}
#else
#error "no int8 dot product of this processor is known here"
#endif

constexpr int kSums = 12;  // latency 5, two per cycle: ten would do
constexpr int64_t kRounds = 20'000'000;

struct Sums {
  Vector at[kSums];
};

// The empty asm hides the factors: without it the compiler sees one product, or twelve equal ones.
void work(Sums* sink) {
  Sums sums;
  Vector a = ones(), b = ones();
  for (Vector& sum : sums.at) sum = ones();
  for (int64_t i = 0; i < kRounds; ++i) {
#pragma GCC unroll 12
    for (int s = 0; s < kSums; ++s) {
#if defined(__AVX2__)
      __asm__ volatile("" : "+x"(a), "+x"(b));
#elif defined(__ARM_FEATURE_DOTPROD)
      __asm__ volatile("" : "+w"(a), "+w"(b));
#endif
      sums.at[s] = dot(sums.at[s], a, b);
    }
  }
  *sink = sums;
}

}  // namespace

int main(int count, char** arguments) {
  const int num_threads = count > 1 ? std::max(1, std::atoi(arguments[1])) : 1;
  double best = 0;
  for (int round = 0; round < 5; ++round) {
    std::vector<Sums> sinks(num_threads);
    std::vector<std::thread> threads;
    const auto start = std::chrono::steady_clock::now();
    for (int t = 0; t < num_threads; ++t) threads.emplace_back(work, &sinks[t]);
    for (std::thread& thread : threads) thread.join();
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    volatile Vector seen = sinks[0].at[0];  // so that there is something to compute
    (void)seen;
    best = std::max(best, 2.0 * sizeof(Vector) * kSums * kRounds * num_threads / elapsed.count());
  }
  std::printf("{\"instruction\": \"%s\", \"operationsPerSecond\": %.4g}\n", kInstruction, best);
}
