// Emulated: see kernels/cuda/ptx/convert.cuh.
#pragma once
#include <bit>
#include <cmath>
#include <cstdint>

namespace oss::emu {

// To nearest, ties to even; every NaN becomes the one that the hardware makes.
inline uint32_t bf16_bits(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return 0x7FFFu;
  return (bits + 0x7FFFu + (bits >> 16 & 1)) >> 16;
}

// A float product of two bf16 is exact but where it is subnormal: there it is rounded to odd first, which keeps the
// second rounding honest.
inline uint32_t bf16_product(float a, float b) {
  float product = a * b;
  if (std::fabs(product) < 0x1p-100f) {
    const double exact = double(a) * double(b);
    uint32_t bits = std::bit_cast<uint32_t>(product);
    if (double(product) != exact && (bits & 1) == 0) {
      bits += std::fabs(double(product)) < std::fabs(exact) ? 1u : ~0u;
      product = std::bit_cast<float>(bits);
    }
  }
  return bf16_bits(product);
}

}  // namespace oss::emu

namespace oss::cuda {

inline uint32_t pack_bf16x2(float low, float high) { return emu::bf16_bits(high) << 16 | emu::bf16_bits(low); }

inline float low_bf16(uint32_t pair) { return std::bit_cast<float>(pair << 16); }
inline float high_bf16(uint32_t pair) { return std::bit_cast<float>(pair & 0xFFFF0000u); }

inline uint32_t mul_bf16x2(uint32_t a, uint32_t b) {
  return emu::bf16_product(high_bf16(a), high_bf16(b)) << 16 | emu::bf16_product(low_bf16(a), low_bf16(b));
}

// Subnormals are zeros, as `ftz` says.
inline float exp2_approx(float x) {
  const float y = std::exp2(x);
  return y < 0x1p-126f ? 0.0f : y;
}

}  // namespace oss::cuda
