// MXFP4 in registers of a GPU: see kernels/common/mxfp4.h for the format.
//
// Sign, exponent and mantissa of E2M1 move to the sign, the low two exponent bits and the highest mantissa bit of half.
// This gives value · 2^-14, also for the subnormal ½: Metal never flushes subnormals of half. Two codes take five
// logical operations and no table. A factor of 2^15 makes them doubled codes, which go with e8m0_half().
#pragma once
#include "kernels/common/mxfp4.h"
#include "kernels/metal/lang.h"

namespace oss {

OSS_CONSTANT float kMxDoubledCode = 32768.0f;

// The codes in bits 0 and 16 of a word, as value · 2^-14. Of a word's eight values those are 0 and 4; after a shift by
// 4, 8 and 12 they are 1 and 5, 2 and 6, 3 and 7.
static inline half2 mxfp4_codes(uint word) {
  return as_type<half2>((word << 12 & 0x80008000u) | (word << 9 & 0x0E000E00u));
}

// Two bf16 in one word, as they lie in memory.
static inline float bf16_low(uint pair) { return as_type<float>(pair << 16); }
static inline float bf16_high(uint pair) { return as_type<float>(pair & 0xFFFF0000u); }

// Adds the products of a word's eight values · 2^-14 and eight bf16.
static inline float mxfp4_dot(uint word, uint4 x, float sum) {
  const half2 a = mxfp4_codes(word), b = mxfp4_codes(word >> 4);
  const half2 c = mxfp4_codes(word >> 8), d = mxfp4_codes(word >> 12);
  sum = fma(float(a.x), bf16_low(x.x), sum);
  sum = fma(float(b.x), bf16_high(x.x), sum);
  sum = fma(float(c.x), bf16_low(x.y), sum);
  sum = fma(float(d.x), bf16_high(x.y), sum);
  sum = fma(float(a.y), bf16_low(x.z), sum);
  sum = fma(float(b.y), bf16_high(x.z), sum);
  sum = fma(float(c.y), bf16_low(x.w), sum);
  return fma(float(d.y), bf16_high(x.w), sum);
}

// Cuts off, because the values of MXFP4 have few bits.
static inline uint mxfp4_pair(half low, half high, float scale) {
  return as_type<uint>(float(low) * scale) >> 16 | (as_type<uint>(float(high) * scale) & 0xFFFF0000u);
}
// A word's eight values as bf16; scale = e8m0_half() of their block.
static inline uint4 mxfp4_values(uint word, float scale) {
  const half2 doubled = half2(half(kMxDoubledCode));
  const half2 a = mxfp4_codes(word) * doubled, b = mxfp4_codes(word >> 4) * doubled;
  const half2 c = mxfp4_codes(word >> 8) * doubled, d = mxfp4_codes(word >> 12) * doubled;
  return uint4(mxfp4_pair(a.x, b.x, scale), mxfp4_pair(c.x, d.x, scale), mxfp4_pair(a.y, b.y, scale),
               mxfp4_pair(c.y, d.y, scale));
}

}  // namespace oss
