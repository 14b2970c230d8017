// One small vector type: sixteen floats, in one AVX-512 register, two AVX2, four NEON, or an array.
//
// It has sixteen lanes on every machine, so a kernel adds in the same order everywhere. AVX-512, AVX2 and NEON give the
// same bits, since all have fused multiply-add; the array rounds twice. They differ in the number of registers, hence
// in the tile sizes.
//
// Included by each isa_*.cpp inside an anonymous namespace, with OSS_SIMD_{AVX512,AVX2,NEON} or none of them defined.
#pragma once

#define OSS_UNROLL _Pragma("GCC unroll 16")
// The doubled E2M1 codes, see common/mxfp4.h; a test compares them.
#define OSS_E2M1_TIMES2 0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12

constexpr int kLanes = 16;

#if defined(OSS_SIMD_AVX512) || defined(OSS_SIMD_AVX2)

// Every ISA adds halves to halves in this order: lane i + lane i+8, then +4, +2, +1.
inline float sum8(__m256 a) {
  __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  b = _mm_add_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}
inline float largest8(__m256 a) {
  __m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  b = _mm_max_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_max_ss(b, _mm_movehdup_ps(b)));
}

#endif

#if defined(OSS_SIMD_AVX512)

// Of 32 registers a tile of 4 × 4 takes 16 for sums, 4 for one operand and 1 for the other.
constexpr int kTileTokens = 4, kTileRows = 4, kTileColumns = 4;

struct Vec {
  __m512 v;
  Vec() = default;
  Vec(__m512 value) : v(value) {}
  explicit Vec(float value) : v(_mm512_set1_ps(value)) {}
};

inline Vec load(const float* p) { return _mm512_loadu_ps(p); }
inline void store(float* p, Vec a) { _mm512_storeu_ps(p, a.v); }
inline Vec load_bf16(const uint16_t* p) {
  const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}
inline Vec load_int8(const int8_t* p) {
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}
inline Vec q8_scale(uint16_t bits) { return _mm512_cvtph_ps(_mm256_set1_epi16(int16_t(bits))); }
inline Vec operator+(Vec a, Vec b) { return _mm512_add_ps(a.v, b.v); }
inline Vec operator-(Vec a, Vec b) { return _mm512_sub_ps(a.v, b.v); }
inline Vec operator*(Vec a, Vec b) { return _mm512_mul_ps(a.v, b.v); }
inline Vec operator/(Vec a, Vec b) { return _mm512_div_ps(a.v, b.v); }
inline Vec min(Vec a, Vec b) { return _mm512_min_ps(a.v, b.v); }
inline Vec max(Vec a, Vec b) { return _mm512_max_ps(a.v, b.v); }
inline Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a.v, b.v, c.v); }
inline float fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
inline Vec round(Vec a) { return _mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline float sum(Vec a) { return sum8(_mm256_add_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1))); }
inline float largest(Vec a) {
  return largest8(_mm256_max_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1)));
}
// 2^a for integers a in [-126, 127].
inline Vec exp2_integer(Vec a) {
  const __m512i biased = _mm512_add_epi32(_mm512_cvtps_epi32(a.v), _mm512_set1_epi32(127));
  return _mm512_castsi512_ps(_mm512_slli_epi32(biased, 23));
}
// Lanes [begin, end) of a, `other` elsewhere.
inline Vec keep(Vec a, int begin, int end, float other) {
  const __mmask16 inside = __mmask16(((1u << end) - 1u) & ~((1u << begin) - 1u));
  return _mm512_mask_mov_ps(_mm512_set1_ps(other), inside, a.v);
}
// One MXFP4 block times `half_scale`: its 16 even and 16 odd elements. The permutation uses 4 bits of each index, so
// the high nibbles need no mask. Scaling the 16 table entries scales all 32 weights.
inline void load_mxfp4(const uint8_t* block, Vec half_scale, Vec& even, Vec& odd) {
  alignas(64) static constexpr float kTable[16] = {OSS_E2M1_TIMES2};
  const __m512 table = _mm512_mul_ps(_mm512_load_ps(kTable), half_scale.v);
  const __m512i codes = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(block)));
  even = _mm512_permutexvar_ps(codes, table);
  odd = _mm512_permutexvar_ps(_mm512_srli_epi32(codes, 4), table);
}
// to[c][r] = from[r][c], 16 × 16.
inline void transpose16(const float* from, int from_stride, float* to, int to_stride) {
  __m512 quad[16];  // quad[4i + j]: of each 128-bit lane L, column 4L + j of rows 4i .. 4i+3
  OSS_UNROLL for (int i = 0; i < 16; i += 4) {
    const __m512 r0 = _mm512_loadu_ps(from + (i + 0) * from_stride), r1 = _mm512_loadu_ps(from + (i + 1) * from_stride);
    const __m512 r2 = _mm512_loadu_ps(from + (i + 2) * from_stride), r3 = _mm512_loadu_ps(from + (i + 3) * from_stride);
    const __m512d a = _mm512_castps_pd(_mm512_unpacklo_ps(r0, r1)), b = _mm512_castps_pd(_mm512_unpackhi_ps(r0, r1));
    const __m512d c = _mm512_castps_pd(_mm512_unpacklo_ps(r2, r3)), d = _mm512_castps_pd(_mm512_unpackhi_ps(r2, r3));
    quad[i + 0] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
    quad[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
    quad[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d));
    quad[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
  }
  OSS_UNROLL for (int j = 0; j < 4; ++j) {
    const __m512 p = _mm512_shuffle_f32x4(quad[j], quad[4 + j], 0x44);
    const __m512 q = _mm512_shuffle_f32x4(quad[j], quad[4 + j], 0xEE);
    const __m512 r = _mm512_shuffle_f32x4(quad[8 + j], quad[12 + j], 0x44);
    const __m512 s = _mm512_shuffle_f32x4(quad[8 + j], quad[12 + j], 0xEE);
    _mm512_storeu_ps(to + (0 + j) * to_stride, _mm512_shuffle_f32x4(p, r, 0x88));
    _mm512_storeu_ps(to + (4 + j) * to_stride, _mm512_shuffle_f32x4(p, r, 0xDD));
    _mm512_storeu_ps(to + (8 + j) * to_stride, _mm512_shuffle_f32x4(q, s, 0x88));
    _mm512_storeu_ps(to + (12 + j) * to_stride, _mm512_shuffle_f32x4(q, s, 0xDD));
  }
}

#elif defined(OSS_SIMD_AVX2)

// Of 16 registers a tile of 2 × 2 takes 8 for sums, 4 for one operand and 2 for the other.
constexpr int kTileTokens = 2, kTileRows = 2, kTileColumns = 1;

struct Vec {
  __m256 lo, hi;
  Vec() = default;
  Vec(__m256 low, __m256 high) : lo(low), hi(high) {}
  explicit Vec(float value) : lo(_mm256_set1_ps(value)), hi(lo) {}
};

inline Vec load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
inline void store(float* p, Vec a) {
  _mm256_storeu_ps(p, a.lo);
  _mm256_storeu_ps(p + 8, a.hi);
}
inline __m256 load8_bf16(const uint16_t* p) {
  const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}
inline Vec load_bf16(const uint16_t* p) { return {load8_bf16(p), load8_bf16(p + 8)}; }
inline __m256 load8_int8(const int8_t* p) {
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
}
inline Vec load_int8(const int8_t* p) { return {load8_int8(p), load8_int8(p + 8)}; }
inline Vec q8_scale(uint16_t bits) {
  const __m256 wide = _mm256_cvtph_ps(_mm_set1_epi16(int16_t(bits)));
  return {wide, wide};
}
inline Vec operator+(Vec a, Vec b) { return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)}; }
inline Vec operator-(Vec a, Vec b) { return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)}; }
inline Vec operator*(Vec a, Vec b) { return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)}; }
inline Vec operator/(Vec a, Vec b) { return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)}; }
inline Vec min(Vec a, Vec b) { return {_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)}; }
inline Vec max(Vec a, Vec b) { return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)}; }
inline Vec fma(Vec a, Vec b, Vec c) { return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)}; }
inline float fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
inline Vec round(Vec a) {
  constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  return {_mm256_round_ps(a.lo, kNearest), _mm256_round_ps(a.hi, kNearest)};
}
inline float sum(Vec a) { return sum8(_mm256_add_ps(a.lo, a.hi)); }
inline float largest(Vec a) { return largest8(_mm256_max_ps(a.lo, a.hi)); }
inline __m256 exp2_integer8(__m256 a) {
  const __m256i biased = _mm256_add_epi32(_mm256_cvtps_epi32(a), _mm256_set1_epi32(127));
  return _mm256_castsi256_ps(_mm256_slli_epi32(biased, 23));
}
inline Vec exp2_integer(Vec a) { return {exp2_integer8(a.lo), exp2_integer8(a.hi)}; }
inline __m256 keep8(__m256 a, int begin, int end, float other) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const __m256i inside = _mm256_andnot_si256(_mm256_cmpgt_epi32(_mm256_set1_epi32(begin), lane),
                                             _mm256_cmpgt_epi32(_mm256_set1_epi32(end), lane));
  return _mm256_blendv_ps(_mm256_set1_ps(other), a, _mm256_castsi256_ps(inside));
}
inline Vec keep(Vec a, int begin, int end, float other) {
  return {keep8(a.lo, begin, end, other), keep8(a.hi, begin - 8, end - 8, other)};
}
// Eight small integers times the scale.
inline __m256 scaled8(__m128i bytes, __m256 scale) {
  return _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)), scale);
}
inline void load_mxfp4(const uint8_t* block, Vec half_scale, Vec& even, Vec& odd) {
  const __m128i table = _mm_setr_epi8(OSS_E2M1_TIMES2), nibble = _mm_set1_epi8(15);
  const __m128i codes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(block));
  const __m128i low = _mm_shuffle_epi8(table, _mm_and_si128(codes, nibble));
  const __m128i high = _mm_shuffle_epi8(table, _mm_and_si128(_mm_srli_epi16(codes, 4), nibble));
  even = {scaled8(low, half_scale.lo), scaled8(_mm_srli_si128(low, 8), half_scale.lo)};
  odd = {scaled8(high, half_scale.lo), scaled8(_mm_srli_si128(high, 8), half_scale.lo)};
}
inline void transpose8(const float* from, int from_stride, float* to, int to_stride) {
  __m256 quad[8];  // quad[4i + j]: of each 128-bit lane L, column 4L + j of rows 4i .. 4i+3
  OSS_UNROLL for (int i = 0; i < 8; i += 4) {
    const __m256 r0 = _mm256_loadu_ps(from + (i + 0) * from_stride), r1 = _mm256_loadu_ps(from + (i + 1) * from_stride);
    const __m256 r2 = _mm256_loadu_ps(from + (i + 2) * from_stride), r3 = _mm256_loadu_ps(from + (i + 3) * from_stride);
    const __m256d a = _mm256_castps_pd(_mm256_unpacklo_ps(r0, r1)), b = _mm256_castps_pd(_mm256_unpackhi_ps(r0, r1));
    const __m256d c = _mm256_castps_pd(_mm256_unpacklo_ps(r2, r3)), d = _mm256_castps_pd(_mm256_unpackhi_ps(r2, r3));
    quad[i + 0] = _mm256_castpd_ps(_mm256_unpacklo_pd(a, c));
    quad[i + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(a, c));
    quad[i + 2] = _mm256_castpd_ps(_mm256_unpacklo_pd(b, d));
    quad[i + 3] = _mm256_castpd_ps(_mm256_unpackhi_pd(b, d));
  }
  OSS_UNROLL for (int j = 0; j < 4; ++j) {
    _mm256_storeu_ps(to + (0 + j) * to_stride, _mm256_permute2f128_ps(quad[j], quad[4 + j], 0x20));
    _mm256_storeu_ps(to + (4 + j) * to_stride, _mm256_permute2f128_ps(quad[j], quad[4 + j], 0x31));
  }
}
inline void transpose16(const float* from, int from_stride, float* to, int to_stride) {
  for (int r = 0; r < 16; r += 8) {
    for (int c = 0; c < 16; c += 8) {
      transpose8(from + r * from_stride + c, from_stride, to + c * to_stride + r, to_stride);
    }
  }
}

#elif defined(OSS_SIMD_NEON)

// Of 32 registers a tile of 2 × 2 takes 16 for sums, 8 for one operand and 4 for the other.
constexpr int kTileTokens = 2, kTileRows = 2, kTileColumns = 1;

struct Vec {
  float32x4_t a, b, c, d;
  Vec() = default;
  Vec(float32x4_t v0, float32x4_t v1, float32x4_t v2, float32x4_t v3) : a(v0), b(v1), c(v2), d(v3) {}
  explicit Vec(float value) : a(vdupq_n_f32(value)), b(a), c(a), d(a) {}
};

inline Vec load(const float* p) { return {vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8), vld1q_f32(p + 12)}; }
inline void store(float* p, Vec x) {
  vst1q_f32(p, x.a);
  vst1q_f32(p + 4, x.b);
  vst1q_f32(p + 8, x.c);
  vst1q_f32(p + 12, x.d);
}
inline float32x4_t load4_bf16(const uint16_t* p) { return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16)); }
inline Vec load_bf16(const uint16_t* p) {
  return {load4_bf16(p), load4_bf16(p + 4), load4_bf16(p + 8), load4_bf16(p + 12)};
}
inline Vec to_floats(int8x16_t bytes) {
  const int16x8_t low = vmovl_s8(vget_low_s8(bytes)), high = vmovl_s8(vget_high_s8(bytes));
  return {vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))), vcvtq_f32_s32(vmovl_s16(vget_high_s16(low))),
          vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))), vcvtq_f32_s32(vmovl_s16(vget_high_s16(high)))};
}
inline Vec load_int8(const int8_t* p) { return to_floats(vld1q_s8(p)); }
inline Vec q8_scale(uint16_t bits) {
  const float32x4_t wide = vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(bits)));
  return {wide, wide, wide, wide};
}
#define OSS_EACH(function, x, y) {function(x.a, y.a), function(x.b, y.b), function(x.c, y.c), function(x.d, y.d)}
inline Vec operator+(Vec x, Vec y) { return OSS_EACH(vaddq_f32, x, y); }
inline Vec operator-(Vec x, Vec y) { return OSS_EACH(vsubq_f32, x, y); }
inline Vec operator*(Vec x, Vec y) { return OSS_EACH(vmulq_f32, x, y); }
inline Vec operator/(Vec x, Vec y) { return OSS_EACH(vdivq_f32, x, y); }
inline Vec min(Vec x, Vec y) { return OSS_EACH(vminq_f32, x, y); }
inline Vec max(Vec x, Vec y) { return OSS_EACH(vmaxq_f32, x, y); }
#undef OSS_EACH
inline Vec fma(Vec x, Vec y, Vec z) {
  return {vfmaq_f32(z.a, x.a, y.a), vfmaq_f32(z.b, x.b, y.b), vfmaq_f32(z.c, x.c, y.c), vfmaq_f32(z.d, x.d, y.d)};
}
inline float fma(float x, float y, float z) { return __builtin_fmaf(x, y, z); }
inline Vec round(Vec x) { return {vrndnq_f32(x.a), vrndnq_f32(x.b), vrndnq_f32(x.c), vrndnq_f32(x.d)}; }
inline float sum(Vec x) {
  const float32x4_t four = vaddq_f32(vaddq_f32(x.a, x.c), vaddq_f32(x.b, x.d));
  const float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
  return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}
inline float largest(Vec x) { return vmaxvq_f32(vmaxq_f32(vmaxq_f32(x.a, x.c), vmaxq_f32(x.b, x.d))); }
inline float32x4_t exp2_integer4(float32x4_t x) {
  return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vcvtq_s32_f32(x), vdupq_n_s32(127)), 23));
}
inline Vec exp2_integer(Vec x) {
  return {exp2_integer4(x.a), exp2_integer4(x.b), exp2_integer4(x.c), exp2_integer4(x.d)};
}
inline float32x4_t keep4(float32x4_t x, int first, int begin, int end, float32x4_t other) {
  const int32_t count[4] = {0, 1, 2, 3};
  const int32x4_t lane = vaddq_s32(vld1q_s32(count), vdupq_n_s32(first));
  const uint32x4_t inside = vandq_u32(vcgeq_s32(lane, vdupq_n_s32(begin)), vcltq_s32(lane, vdupq_n_s32(end)));
  return vbslq_f32(inside, x, other);
}
inline Vec keep(Vec x, int begin, int end, float other) {
  const float32x4_t o = vdupq_n_f32(other);
  return {keep4(x.a, 0, begin, end, o), keep4(x.b, 4, begin, end, o), keep4(x.c, 8, begin, end, o),
          keep4(x.d, 12, begin, end, o)};
}
// The codes are looked up as bytes, all 16 at once.
inline void load_mxfp4(const uint8_t* block, Vec half_scale, Vec& even, Vec& odd) {
  const int8_t values[16] = {OSS_E2M1_TIMES2};
  const int8x16_t table = vld1q_s8(values);
  const uint8x16_t codes = vld1q_u8(block);
  even = to_floats(vqtbl1q_s8(table, vandq_u8(codes, vdupq_n_u8(15)))) * half_scale;
  odd = to_floats(vqtbl1q_s8(table, vshrq_n_u8(codes, 4))) * half_scale;
}
inline void transpose4(const float* from, int from_stride, float* to, int to_stride) {
  const float32x4_t r0 = vld1q_f32(from), r1 = vld1q_f32(from + from_stride);
  const float32x4_t r2 = vld1q_f32(from + 2 * from_stride), r3 = vld1q_f32(from + 3 * from_stride);
  const float64x2_t a = vreinterpretq_f64_f32(vtrn1q_f32(r0, r1)), b = vreinterpretq_f64_f32(vtrn2q_f32(r0, r1));
  const float64x2_t c = vreinterpretq_f64_f32(vtrn1q_f32(r2, r3)), d = vreinterpretq_f64_f32(vtrn2q_f32(r2, r3));
  vst1q_f32(to, vreinterpretq_f32_f64(vtrn1q_f64(a, c)));
  vst1q_f32(to + to_stride, vreinterpretq_f32_f64(vtrn1q_f64(b, d)));
  vst1q_f32(to + 2 * to_stride, vreinterpretq_f32_f64(vtrn2q_f64(a, c)));
  vst1q_f32(to + 3 * to_stride, vreinterpretq_f32_f64(vtrn2q_f64(b, d)));
}
inline void transpose16(const float* from, int from_stride, float* to, int to_stride) {
  for (int r = 0; r < 16; r += 4) {
    for (int c = 0; c < 16; c += 4) {
      transpose4(from + r * from_stride + c, from_stride, to + c * to_stride + r, to_stride);
    }
  }
}

#else  // an array, which compilers vectorize for the baseline

constexpr int kTileTokens = 2, kTileRows = 2, kTileColumns = 1;

struct Vec {
  float v[kLanes];
  Vec() = default;
  explicit Vec(float value) {
    for (float& lane : v) lane = value;
  }
};

#define OSS_EACH(expression)                                \
  Vec out;                                                  \
  for (int i = 0; i < kLanes; ++i) out.v[i] = (expression); \
  return out
inline Vec load(const float* p) { OSS_EACH(p[i]); }
inline void store(float* p, Vec a) {
  for (int i = 0; i < kLanes; ++i) p[i] = a.v[i];
}
inline Vec load_bf16(const uint16_t* p) { OSS_EACH(bf16_to_f32(p[i])); }
inline Vec load_int8(const int8_t* p) { OSS_EACH(float(p[i])); }
inline Vec q8_scale(uint16_t bits) { return Vec(q8_scale_to_f32(bits)); }
inline Vec operator+(Vec a, Vec b) { OSS_EACH(a.v[i] + b.v[i]); }
inline Vec operator-(Vec a, Vec b) { OSS_EACH(a.v[i] - b.v[i]); }
inline Vec operator*(Vec a, Vec b) { OSS_EACH(a.v[i] * b.v[i]); }
inline Vec operator/(Vec a, Vec b) { OSS_EACH(a.v[i] / b.v[i]); }
inline Vec min(Vec a, Vec b) { OSS_EACH(a.v[i] < b.v[i] ? a.v[i] : b.v[i]); }
inline Vec max(Vec a, Vec b) { OSS_EACH(a.v[i] > b.v[i] ? a.v[i] : b.v[i]); }
// Without the instruction, a fused multiply-add is a slow library call. Rounding twice is accurate enough.
inline float fma(float a, float b, float c) { return a * b + c; }
inline Vec fma(Vec a, Vec b, Vec c) { OSS_EACH(a.v[i] * b.v[i] + c.v[i]); }
// Adding 1.5 · 2^23 pushes the fraction out of a float: the nearest integer remains, for |a| < 2^22.
constexpr float kRounder = 12582912.0f;
inline Vec round(Vec a) { OSS_EACH((a.v[i] + kRounder) - kRounder); }
inline Vec exp2_integer(Vec a) { OSS_EACH(OSS_BITS(float, OSS_BITS(uint32_t, a.v[i] + 127.0f + kRounder) << 23)); }
inline float sum(Vec a) {
  for (int half = kLanes / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) a.v[i] += a.v[i + half];
  }
  return a.v[0];
}
inline float largest(Vec a) {
  for (int i = 1; i < kLanes; ++i) a.v[0] = a.v[0] > a.v[i] ? a.v[0] : a.v[i];
  return a.v[0];
}
inline Vec keep(Vec a, int begin, int end, float other) { OSS_EACH(i >= begin && i < end ? a.v[i] : other); }
#undef OSS_EACH
inline void load_mxfp4(const uint8_t* block, Vec half_scale, Vec& even, Vec& odd) {
  constexpr float kTable[16] = {OSS_E2M1_TIMES2};
  for (int i = 0; i < kLanes; ++i) {
    even.v[i] = kTable[block[i] & 15] * half_scale.v[0];
    odd.v[i] = kTable[block[i] >> 4] * half_scale.v[0];
  }
}
inline void transpose16(const float* from, int from_stride, float* to, int to_stride) {
  for (int r = 0; r < kLanes; ++r) {
    for (int c = 0; c < kLanes; ++c) to[c * to_stride + r] = from[r * from_stride + c];
  }
}

#endif

// The same from bf16, through a block in L1.
inline void transpose16(const uint16_t* from, int from_stride, float* to, int to_stride) {
  alignas(64) float wide[kLanes * kLanes];
  OSS_UNROLL for (int r = 0; r < kLanes; ++r) store(wide + r * kLanes, load_bf16(from + r * from_stride));
  transpose16(wide, kLanes, to, to_stride);
}

// Prefetches the cache lines of this many bytes. The address may lie outside of any allocation.
template <size_t kBytes>
inline void prefetch(const void* p) {
  OSS_UNROLL for (size_t at = 0; at < kBytes; at += 64) __builtin_prefetch(static_cast<const char*>(p) + at);
}

// The last n < 16 elements of a row; the other lanes are 0.
inline Vec load(const float* p, int n) {
  float buffer[kLanes] = {};
  for (int i = 0; i < n; ++i) buffer[i] = p[i];
  return load(buffer);
}
inline Vec load_bf16(const uint16_t* p, int n) {
  uint16_t buffer[kLanes] = {};
  for (int i = 0; i < n; ++i) buffer[i] = p[i];
  return load_bf16(buffer);
}
inline void store(float* p, Vec a, int n) {
  float buffer[kLanes];
  store(buffer, a);
  for (int i = 0; i < n; ++i) p[i] = buffer[i];
}

// exp, to 1.5 units in the last place, subnormal results included; exp(-inf) = 0, NaN stays.
//   x = n·ln 2 + r, |r| <= ln 2 / 2:   exp(x) = 2^n · (1 + r + r²·q(r)),  q minimax (relative error of exp 3.6e-9)
inline Vec exp(Vec x) {
  // Past these bounds the result is infinity or 0 in any case, and n stays within two powers of two.
  x = min(Vec(89.0f), max(Vec(-104.0f), x));
  const Vec n = round(x * Vec(1.44269504f));
  // ln 2 in two parts; n times the first is exact, with or without fused multiply-add.
  Vec r = fma(n, Vec(-0.693145751953125f), x);
  r = fma(n, Vec(-1.42860677e-6f), r);
  Vec q = Vec(0.0013814539415761828f);
  q = fma(q, r, Vec(0.00836874544620514f));
  q = fma(q, r, Vec(0.04166838899254799f));
  q = fma(q, r, Vec(0.1666652113199234f));
  q = fma(q, r, Vec(0.4999999403953552f));
  const Vec p = fma(r * r, q, r) + Vec(1.0f);
  // In two steps, because 2^n alone may be out of range although p · 2^n is not.
  const Vec half = round(n * Vec(0.5f));
  return p * exp2_integer(half) * exp2_integer(n - half);
}
inline float exp(float x) {
  float lanes[kLanes];
  store(lanes, exp(Vec(x)));
  return lanes[0];
}
