// The unit of float32 products.
#if defined(OSS_SIMD_AVX512)
using PeakSum = __m512;
constexpr int kPeakSums = 12, kPeakOperations = 2 * 16;  // latency 4, two in a cycle
constexpr const char* kPeakInstruction = "avx512 vfmadd231ps";
inline PeakSum peak_ones() { return _mm512_set1_ps(1); }
inline PeakSum peak_dot(PeakSum sum, PeakSum a, PeakSum b) { return _mm512_fmadd_ps(a, b, sum); }
#elif defined(OSS_SIMD_AVX2)
using PeakSum = __m256;
constexpr int kPeakSums = 12, kPeakOperations = 2 * 8;  // latency 5, two in a cycle
constexpr const char* kPeakInstruction = "avx2 vfmadd231ps";
inline PeakSum peak_ones() { return _mm256_set1_ps(1); }
inline PeakSum peak_dot(PeakSum sum, PeakSum a, PeakSum b) { return _mm256_fmadd_ps(a, b, sum); }
#elif defined(OSS_SIMD_NEON)
using PeakSum = float32x4_t;
constexpr int kPeakSums = 16, kPeakOperations = 2 * 4;  // latency 4, four in a cycle
constexpr const char* kPeakInstruction = "neon fmla";
inline PeakSum peak_ones() { return vdupq_n_f32(1); }
inline PeakSum peak_dot(PeakSum sum, PeakSum a, PeakSum b) { return vfmaq_f32(sum, a, b); }
#else  // what compilers make of the baseline: four lanes, a product and a sum
typedef float PeakSum __attribute__((vector_size(16)));
constexpr int kPeakSums = 12, kPeakOperations = 2 * 4;
constexpr const char* kPeakInstruction = "four lanes of float32";
inline PeakSum peak_ones() { return PeakSum{1, 1, 1, 1}; }
inline PeakSum peak_dot(PeakSum sum, PeakSum a, PeakSum b) { return a * b + sum; }
#endif
using PeakFactor = PeakSum;
#include "kernels/cpu/peak.inl"
