// Thirty-two bf16 in one type beside Vec of simd.h, for instruction sets that multiply them. Products of neighbours are
// added in pairs, so 32 products end in 16 float32 lanes.
//
// Included after simd.h by each isa_*bf16.cpp, inside its anonymous namespace.
#pragma once

// bf16 of ±{0 ½ 1 1½ 2 3 4 6} · 2^125. A scale byte e <= 252 (native/loader/scales.h) lowers the exponents. A
// saturating subtraction of (252 - e) << 7 keeps zero at zero and never borrows from the sign.
// clang-format off
#define OSS_E2M1_BF16 0x0000, 0x7D80, 0x7E00, 0x7E40, 0x7E80, 0x7EC0, 0x7F00, 0x7F40, \
                      0x0000, 0xFD80, 0xFE00, 0xFE40, 0xFE80, 0xFEC0, 0xFF00, 0xFF40
// clang-format on
struct ExponentDrops {
  uint32_t twice[256];  // for two words
  constexpr ExponentDrops() : twice() {
    for (uint32_t e = 0; e <= 252; ++e) twice[e] = ((252u - e) << 7) * 0x10001u;
  }
};
constexpr ExponentDrops kExponentDrops;

#if defined(OSS_SIMD_AVX512)

struct Wide {
  __m512i v;
};

inline Wide load_wide(const uint16_t* p) { return {_mm512_loadu_si512(p)}; }
inline void store_wide(uint16_t* p, Wide a) { _mm512_storeu_si512(p, a.v); }
inline Vec dot(Vec sum, Wide a, Wide b) { return _mm512_dpbf16_ps(sum.v, __m512bh(a.v), __m512bh(b.v)); }
inline Wide rounded(Vec first, Vec second) { return {__m512i(_mm512_cvtne2ps_pbh(second.v, first.v))}; }
inline void store_bf16(uint16_t* p, Vec a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), __m256i(_mm512_cvtneps_pbh(a.v)));
}
// One block of MXFP4. Low nibbles become the low words of 16 dwords and high nibbles the high words. A permutation of
// dwords is one instruction; a permutation of words is two.
inline Wide load_mxfp4(const uint8_t* block, uint8_t scale) {
  alignas(64) static constexpr uint32_t kWords[16] = {OSS_E2M1_BF16};
  const __m512i low = _mm512_load_si512(kWords), high = _mm512_slli_epi32(low, 16);
  const __m512i codes = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(block)));
  const __m512i values = _mm512_or_si512(_mm512_permutexvar_epi32(codes, low),
                                         _mm512_permutexvar_epi32(_mm512_srli_epi32(codes, 4), high));
  return {_mm512_subs_epu16(values, _mm512_set1_epi32(int(kExponentDrops.twice[scale])))};
}

#elif defined(OSS_SIMD_NEON)

struct Wide {
  uint16x8_t a, b, c, d;
};

inline Wide load_wide(const uint16_t* p) {
  return {vld1q_u16(p), vld1q_u16(p + 8), vld1q_u16(p + 16), vld1q_u16(p + 24)};
}
inline void store_wide(uint16_t* p, Wide x) {
  vst1q_u16(p, x.a);
  vst1q_u16(p + 8, x.b);
  vst1q_u16(p + 16, x.c);
  vst1q_u16(p + 24, x.d);
}
inline float32x4_t dot4(float32x4_t sum, uint16x8_t a, uint16x8_t b) {
  return vbfdotq_f32(sum, vreinterpretq_bf16_u16(a), vreinterpretq_bf16_u16(b));
}
inline Vec dot(Vec sum, Wide a, Wide b) {
  return {dot4(sum.a, a.a, b.a), dot4(sum.b, a.b, b.b), dot4(sum.c, a.c, b.c), dot4(sum.d, a.d, b.d)};
}
inline uint16x8_t rounded8(float32x4_t low, float32x4_t high) {
  return vreinterpretq_u16_bf16(vcvtq_high_bf16_f32(vcvtq_low_bf16_f32(low), high));
}
inline Wide rounded(Vec first, Vec second) {
  return {rounded8(first.a, first.b), rounded8(first.c, first.d), rounded8(second.a, second.b),
          rounded8(second.c, second.d)};
}
inline void store_bf16(uint16_t* p, Vec a) {
  vst1q_u16(p, rounded8(a.a, a.b));
  vst1q_u16(p + 8, rounded8(a.c, a.d));
}

// Sixteen codes; the two bytes of their words are looked up separately.
inline uint16x8x2_t widen_codes(uint8x16_t codes, const uint8x16x2_t& bytes) {
  const uint8x16_t low = vqtbl1q_u8(bytes.val[0], codes), high = vqtbl1q_u8(bytes.val[1], codes);
  return {{vreinterpretq_u16_u8(vzip1q_u8(low, high)), vreinterpretq_u16_u8(vzip2q_u8(low, high))}};
}
inline Wide load_mxfp4(const uint8_t* block, uint8_t scale) {
  const uint16_t values[16] = {OSS_E2M1_BF16};
  const uint8x16x2_t bytes = vld2q_u8(reinterpret_cast<const uint8_t*>(values));
  const uint16x8_t drop = vdupq_n_u16(uint16_t(kExponentDrops.twice[scale]));
  const uint8x16_t codes = vld1q_u8(block);
  const uint8x16_t even = vandq_u8(codes, vdupq_n_u8(15)), odd = vshrq_n_u8(codes, 4);
  const uint16x8x2_t first = widen_codes(vzip1q_u8(even, odd), bytes),
                     second = widen_codes(vzip2q_u8(even, odd), bytes);
  return {vqsubq_u16(first.val[0], drop), vqsubq_u16(first.val[1], drop), vqsubq_u16(second.val[0], drop),
          vqsubq_u16(second.val[1], drop)};
}

#endif

inline Wide load_wide(const uint16_t* p, int n) {
  uint16_t buffer[2 * kLanes] = {};
  for (int i = 0; i < n; ++i) buffer[i] = p[i];
  return load_wide(buffer);
}
