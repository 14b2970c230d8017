// MXFP4: 32 values share one scale byte. A value is E2M1 (sign, magnitude 0 ½ 1 1½ 2 3 4 6), the scale is E8M0:
//   value = e2m1(code) · 2^(e - 127)      16 bytes per block, low nibble = element 2j, high nibble = element 2j + 1
// Kernels compute with doubled codes, which are small integers, and halved scales.
#pragma once
#include "kernels/common/lang.h"

namespace oss {

OSS_CONSTANT int kMxBlock = 32;       // values per scale
OSS_CONSTANT int kMxBlockBytes = 16;  // bytes of those values

// Doubled magnitudes 0 1 2 3 4 6 8 12, one nibble each. This needs no table and so no address space.
OSS_FN constexpr float e2m1_times2(uint32_t code) {
  const float magnitude = float((0xC8643210u >> (4u * (code & 7u))) & 0xFu);
  return (code & 8u) ? -magnitude : magnitude;
}

// ½ · 2^(e - 127), exact for every byte: 0 and 1 are subnormal, 255 is NaN by the OCP MX specification.
OSS_BITS_FN float e8m0_half(uint32_t e) {
  if (e == 255u) return OSS_BITS(float, 0x7FC00000u);
  return OSS_BITS(float, e >= 2u ? (e - 1u) << 23 : 0x00200000u << e);
}

}  // namespace oss
