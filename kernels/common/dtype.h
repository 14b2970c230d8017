// bf16: the upper half of a float32. Widening is exact; narrowing rounds to nearest, ties to even.
#pragma once
#include "kernels/common/lang.h"

namespace oss {

OSS_FN constexpr float bf16_to_f32(uint16_t bits) { return OSS_BITS(float, uint32_t(bits) << 16); }

OSS_FN constexpr uint16_t f32_to_bf16(float value) {
  const uint32_t bits = OSS_BITS(uint32_t, value);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return uint16_t((bits >> 16) | 0x40u);  // NaN stays NaN, and quiet
  return uint16_t((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
}

}  // namespace oss
