// bf16: the upper half of a float32. Widening is exact; narrowing rounds to nearest, ties to even.
// e4m3: sign, 4 bits of exponent (bias 7), 3 of mantissa; no infinity, one NaN (0x7F), largest 448 (OCP FP8, E4M3).
#pragma once
#include "kernels/common/lang.h"

namespace oss {

OSS_BITS_FN float bf16_to_f32(uint16_t bits) { return OSS_BITS(float, uint32_t(bits) << 16); }

OSS_BITS_FN uint16_t f32_to_bf16(float value) {
  const uint32_t bits = OSS_BITS(uint32_t, value);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return uint16_t((bits >> 16) | 0x40u);  // NaN becomes a quiet NaN
  return uint16_t((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
}

OSS_BITS_FN float e4m3_to_f32(uint8_t bits) {
  const uint32_t sign = uint32_t(bits & 0x80u) << 24, magnitude = bits & 0x7Fu;
  if (magnitude == 0x7Fu) return OSS_BITS(float, sign | 0x7FC00000u);
  if (magnitude < 8u) {  // subnormal: a multiple of 2^-9
    const float value = float(magnitude) * (1.0f / 512.0f);
    return sign != 0u ? -value : value;
  }
  return OSS_BITS(float, sign | ((magnitude << 20) + (120u << 23)));
}

// Saturates past the largest value, which suits KV caches; NaN stays NaN.
OSS_BITS_FN uint8_t f32_to_e4m3(float value) {
  const uint32_t bits = OSS_BITS(uint32_t, value), sign = (bits >> 24) & 0x80u, magnitude = bits & 0x7FFFFFFFu;
  if (magnitude > 0x7F800000u) return uint8_t(sign | 0x7Fu);
  if (magnitude >= 0x43E00000u) return uint8_t(sign | 0x7Eu);  // 448
  if (magnitude < 0x3C800000u) {                               // below 2^-6: subnormal
    // Adding 1.5 * 2^14 leaves a multiple of 2^-9 in the low bits, rounded to nearest even.
    const float shifted = OSS_BITS(float, magnitude) + 24576.0f;
    return uint8_t(sign | (OSS_BITS(uint32_t, shifted) & 0xFu));
  }
  const uint32_t rounded = magnitude + 0x7FFFFu + ((magnitude >> 20) & 1u);
  return uint8_t(sign | ((rounded >> 20) - (120u << 3)));
}

}  // namespace oss
