// The vector unit of bf16 products.
#if defined(OSS_SIMD_AVX512)
using PeakSum = __m512;
using PeakFactor = __m512i;
constexpr int kPeakSums = 12, kPeakOperations = 2 * 32;
constexpr const char* kPeakInstruction = "avx512 vdpbf16ps";
inline PeakFactor peak_ones() { return _mm512_set1_epi16(0x3F80); }
inline PeakSum peak_dot(PeakSum sum, PeakFactor a, PeakFactor b) {
  return _mm512_dpbf16_ps(sum, __m512bh(a), __m512bh(b));
}
#else
using PeakSum = float32x4_t;
using PeakFactor = bfloat16x8_t;
constexpr int kPeakSums = 16, kPeakOperations = 2 * 16;
constexpr const char* kPeakInstruction = "neon bfmmla";
inline PeakFactor peak_ones() {
  uint16x8_t ones = vdupq_n_u16(0x3F80);
  asm volatile("" : "+w"(ones));  // GCC 12 would make a constant of fp16 of it, which this instruction set lacks
  return vreinterpretq_bf16_u16(ones);
}
inline PeakSum peak_dot(PeakSum sum, PeakFactor a, PeakFactor b) { return vbfmmlaq_f32(sum, a, b); }
#endif
#include "kernels/cpu/peak.inl"
