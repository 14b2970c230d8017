// Float types of files → float32, exact for each of them.
#pragma once
#include <bit>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "kernels/common/dtype.h"
#include "native/base/tensor.h"

namespace oss {

constexpr float f16_to_f32(uint16_t bits) {
  const uint32_t sign = uint32_t(bits & 0x8000u) << 16, exponent = (bits >> 10) & 31u, mantissa = bits & 0x3FFu;
  if (exponent == 31u) return std::bit_cast<float>(sign | 0x7F800000u | (mantissa << 13));
  if (exponent == 0) {  // subnormal: a multiple of 2^-24
    const float value = float(mantissa) * (1.0f / 16777216.0f);
    return sign != 0 ? -value : value;
  }
  return std::bit_cast<float>(sign | ((exponent + 112u) << 23) | (mantissa << 13));
}

constexpr bool is_float(DType dtype) { return dtype == DType::kBF16 || dtype == DType::kF16 || dtype == DType::kF32; }

// `bytes` may be at any address.
inline float float_at(DType dtype, const std::byte* bytes, size_t index) {
  if (dtype == DType::kF32) {
    float value;
    std::memcpy(&value, bytes + index * sizeof value, sizeof value);
    return value;
  }
  uint16_t bits;
  std::memcpy(&bits, bytes + index * sizeof bits, sizeof bits);
  return dtype == DType::kBF16 ? bf16_to_f32(bits) : f16_to_f32(bits);
}

// Values [first, first + count). A loop of one dtype, which compilers vectorize for bf16.
inline void floats_at(DType dtype, const std::byte* bytes, size_t first, size_t count, float* to) {
  const auto each = [&](auto of) {
    for (size_t i = 0; i < count; ++i) to[i] = float_at(of, bytes, first + i);
  };
  if (dtype == DType::kF32) return each(std::integral_constant<DType, DType::kF32>());
  if (dtype == DType::kBF16) return each(std::integral_constant<DType, DType::kBF16>());
  each(std::integral_constant<DType, DType::kF16>());
}

}  // namespace oss
