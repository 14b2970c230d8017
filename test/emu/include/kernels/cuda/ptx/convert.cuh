// Emulated: see kernels/cuda/ptx/convert.cuh.
#pragma once
#include <bit>
#include <cmath>
#include <cstdint>

namespace oss::emu {

// To nearest, ties to even; every NaN becomes the hardware's NaN.
inline uint32_t bf16_bits(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return 0x7FFFu;
  return (bits + 0x7FFFu + (bits >> 16 & 1)) >> 16;
}

// Exact, and without subnormal floats of the host, which take about a hundred times longer.
inline double bf16_exactly(uint32_t bits) {
  const uint64_t magnitude = bits & 0x7FFFu, sign = uint64_t(bits & 0x8000u) << 48;
  // With the exponent of double's bias. A subnormal bf16 becomes (1 + m) 2^-127, but its value is m 2^-126.
  const double value = std::bit_cast<double>((magnitude << 45) + (uint64_t(1023 - 127) << 52));
  const double result = magnitude < 0x80u ? (value - 0x1p-127) * 2 : value;
  const double infinite = magnitude >= 0x7F80u ? std::bit_cast<double>(magnitude << 45 | uint64_t(2047) << 52) : result;
  return std::bit_cast<double>(std::bit_cast<uint64_t>(infinite) | sign);
}

inline uint32_t bf16_product(uint32_t a, uint32_t b) {
  const double product = bf16_exactly(a) * bf16_exactly(b);
  // A normal result is converted to float and then rounded. A subnormal one counts units of 2^-133; adding 2^52 rounds
  // it.
  const uint32_t normal = bf16_bits(float(product));
  const uint32_t units = uint32_t(std::bit_cast<uint64_t>(std::fabs(product) * 0x1p133 + 0x1p52));
  return std::fabs(product) < 0x1p-126 ? units | ((a ^ b) & 0x8000u) : normal;
}

}  // namespace oss::emu

namespace oss::cuda {

inline uint32_t pack_bf16x2(float low, float high) { return emu::bf16_bits(high) << 16 | emu::bf16_bits(low); }

inline float low_bf16(uint32_t pair) { return std::bit_cast<float>(pair << 16); }
inline float high_bf16(uint32_t pair) { return std::bit_cast<float>(pair & 0xFFFF0000u); }

enum Half { kLowHalf, kHighHalf };
template <Half kHalf>
uint32_t scale_bf16x2(uint32_t pair, uint32_t factors) {
  const uint32_t factor = kHalf == kLowHalf ? factors & 0xFFFFu : factors >> 16;
  return emu::bf16_product(pair >> 16, factor) << 16 | emu::bf16_product(pair & 0xFFFFu, factor);
}

inline uint32_t select_bits(uint32_t mask, uint32_t a, uint32_t b) { return (a & mask) | (b & ~mask); }

// Subnormals become zeros because of `ftz`.
inline float exp2_approx(float x) {
  const float y = std::exp2(x);
  return y < 0x1p-126f ? 0.0f : y;
}

}  // namespace oss::cuda
