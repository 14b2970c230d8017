// Rounds float32 values to MXFP4 (kernels/common/mxfp4.h).
//
// The OCP MX specification 1.0, section 6.3, sets the scale to 2^(floor(log2 max|x|) - 2): 2 is the exponent of the
// greatest E2M1 value, 6. It cuts magnitudes between 6 and 8 scales to 6. So if the greatest one is above 6 scales, the
// next scale is tried too, and the one with the smaller squared error is taken. Relative RMS errors, numpy, 3.2 million
// values of each distribution:
//
//   scale            rule of OCP   never cut   the better of two   the best of five
//   normal           11.50 %       11.54 %     11.16 %             11.16 %
//   Laplace          12.67 %       13.21 %     12.27 %             12.27 %
//   Student, 3 d.f.  14.08 %       14.98 %     13.66 %             13.66 %
#pragma once
#include <cstdint>

#include "kernels/cpu/kernels.h"

namespace oss {

// Writes 32 values as a block of 16 bytes, and returns its scale byte. Elements are rounded to nearest, ties to even, up
// to 6 scales. A block that came from MXFP4 keeps its values: with the rule's scale, each of them is on the grid. The
// scale stays within [2, 252], as loader/scales.h wants it. Infinity becomes the greatest value.
uint8_t quantize_mxfp4(const float* x /*[32]*/, uint8_t* block /*[16]*/);

// The same for `count` blocks, by the fastest kernel of this CPU. GPT_OSS_ISA does not choose it, since all give the same
// bits. Value i of block b is x[b · block_stride + i · value_stride]; `loss` may be null. Returns false when a value is an
// infinity or a NaN; the loss of its block is then unknown.
bool quantize_mxfp4_blocks(int count, const float* x, int block_stride, int value_stride, uint8_t* blocks,
                           uint8_t* scales, cpu::Mxfp4Loss* loss = nullptr);

// The inverse: 32 values of a block.
void dequantize_mxfp4(const uint8_t* block /*[16]*/, uint8_t scale, float* x /*[32]*/);

}  // namespace oss
