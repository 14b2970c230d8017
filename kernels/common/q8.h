// Q8: 32 values share one float16 scale.   value = code · scale, an int8 times a float16
// The same numbers as GGML's Q8_0, 34 bytes a block, but codes and scales are separate arrays.
#pragma once
#include "kernels/common/lang.h"

namespace oss {

OSS_CONSTANT int kQ8Block = 32;       // values per scale
OSS_CONSTANT int kQ8BlockBytes = 34;  // their codes and the scale

// Converts a float16 that is not negative, as all scales are.
OSS_BITS_FN float q8_scale_to_f32(uint16_t bits) {
  if (bits < 0x400u) return float(bits) * (1.0f / 16777216.0f);  // subnormal: a multiple of 2^-24
  return OSS_BITS(float, (uint32_t(bits) + (112u << 10)) << 13);
}

// The scale of a block with this largest magnitude: 1/127 of it, rounded up, so that no code exceeds 127. The largest
// scale is 65504; larger magnitudes, infinity and NaN give kQ8NoScale.
OSS_CONSTANT uint16_t kQ8NoScale = 0x7C00;
OSS_BITS_FN uint16_t q8_scale_for(float largest) {
  if (!(largest <= 127.0f * 65504.0f)) return kQ8NoScale;
  const float scale = largest / 127.0f;
  if (scale < 1.0f / 16384.0f) {  // subnormal
    const float steps = scale * 16777216.0f;
    const uint32_t whole = uint32_t(steps);
    return uint16_t(whole + (float(whole) < steps ? 1u : 0u));
  }
  return uint16_t((OSS_BITS(uint32_t, scale) - (112u << 23) + 0x1FFFu) >> 13);
}

}  // namespace oss
