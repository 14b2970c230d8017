#include "native/base/mxfp4_quantize.h"

#include <algorithm>
#include <cmath>

#include "kernels/common/mxfp4.h"
#include "kernels/cpu/dispatch.h"

namespace oss {

constexpr int kLeastScaleByte = 2, kGreatestScaleByte = 252, kScaleBias = 127;
constexpr int kGreatestExponent = 2;  // of E2M1: 6 = 1.5 · 2^2

// The code of a magnitude in units of the scale: magnitudes are 0 ½ 1 1½ 2 3 4 6, and a tie goes to the even code.
static uint8_t e2m1_code(float x) {
  return uint8_t((x > 0.25f) + (x >= 0.75f) + (x > 1.25f) + (x >= 1.75f) + (x > 2.5f) + (x >= 3.5f) + (x > 5));
}

// Writes the block for a scale. Returns the sum of the squared errors, in units of the scale.
static float round_block(const float* x, int scale, uint8_t* block) {
  const float unit = std::ldexp(1.0f, kScaleBias - scale);
  float squared_error = 0;
  const auto code = [&](float value) {
    const float magnitude = std::fabs(value) * unit;
    const uint8_t nearest = e2m1_code(magnitude);
    const float error = e2m1_times2(nearest) / 2 - magnitude;
    squared_error += error * error;
    return uint8_t(nearest | (std::signbit(value) ? 8 : 0));
  };
  for (int i = 0; i < kMxBlockBytes; ++i) {
    const uint8_t low = code(x[2 * i]), high = code(x[2 * i + 1]);
    block[i] = uint8_t(low | high << 4);
  }
  return squared_error;
}

uint8_t quantize_mxfp4(const float* x, uint8_t* block) {
  float most = 0;
  for (int i = 0; i < kMxBlock; ++i) most = std::max(most, std::fabs(x[i]));
  int scale = kScaleBias;
  if (std::isinf(most)) {
    scale = kGreatestScaleByte;
  } else if (most > 0) {
    int exponent;  // most = [½, 1) · 2^exponent
    std::frexp(most, &exponent);
    scale = std::clamp(exponent - 1 - kGreatestExponent + kScaleBias, kLeastScaleByte, kGreatestScaleByte);
  }
  const float error = round_block(x, scale, block);
  if (most * std::ldexp(1.0f, kScaleBias - scale) <= 6 || scale == kGreatestScaleByte) return uint8_t(scale);
  uint8_t coarser[kMxBlockBytes];
  if (4 * round_block(x, scale + 1, coarser) >= error) return uint8_t(scale);
  std::copy_n(coarser, kMxBlockBytes, block);
  return uint8_t(scale + 1);
}

bool quantize_mxfp4_blocks(int count, const float* x, int block_stride, int value_stride, uint8_t* blocks,
                           uint8_t* scales, cpu::Mxfp4Loss* loss) {
  const cpu::Kernels& kernels = *cpu::available_kernels().front();
  if (kernels.quantize_mxfp4(count, x, block_stride, value_stride, blocks, scales, loss)) return true;
  for (int b = 0; b < count; ++b) {
    float values[kMxBlock];
    for (int i = 0; i < kMxBlock; ++i) values[i] = x[int64_t(b) * block_stride + int64_t(i) * value_stride];
    scales[b] = quantize_mxfp4(values, blocks + b * kMxBlockBytes);
  }
  return false;
}

void dequantize_mxfp4(const uint8_t* block, uint8_t scale, float* x) {
  const float half = e8m0_half(scale);
  for (int i = 0; i < kMxBlockBytes; ++i) {
    x[2 * i] = e2m1_times2(block[i] & 15u) * half;
    x[2 * i + 1] = e2m1_times2(block[i] >> 4) * half;
  }
}

}  // namespace oss
