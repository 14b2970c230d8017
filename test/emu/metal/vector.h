// The vectors and the 16-bit floats of the Metal Shading Language, as far as our kernels use them.
#pragma once
#include <bit>
#include <cstdint>
#include <type_traits>

#include "kernels/common/dtype.h"

namespace oss::emu {

struct BFloat {
  uint16_t bits;
  BFloat() = default;
  BFloat(float value) : bits(f32_to_bf16(value)) {}
  operator float() const { return bf16_to_f32(bits); }
};

struct Half {
  uint16_t bits;
  Half() = default;
  Half(float value) : bits(std::bit_cast<uint16_t>(static_cast<_Float16>(value))) {}
  // g++ calls a slow function for this conversion.
  operator float() const {
    const uint32_t sign = uint32_t(bits & 0x8000u) << 16, magnitude = bits & 0x7FFFu;
    if (magnitude >= 0x7C00u) return std::bit_cast<float>(sign | 0x7F800000u | (magnitude & 0x3FFu) << 13);
    if (magnitude >= 0x400u) return std::bit_cast<float>(sign | ((magnitude << 13) + (112u << 23)));
    const float value = float(magnitude) * 0x1p-24f;
    return sign != 0 ? -value : value;
  }
};

template <typename T, int N>
struct VectorMembers;
template <typename T>
struct alignas(2 * sizeof(T)) VectorMembers<T, 2> {
  T x, y;
};
template <typename T>
struct alignas(4 * sizeof(T)) VectorMembers<T, 3> {
  T x, y, z;
};
template <typename T>
struct alignas(4 * sizeof(T)) VectorMembers<T, 4> {
  T x, y, z, w;
};

template <typename T, int N>
struct Vector : VectorMembers<T, N> {
  using Members = VectorMembers<T, N>;

  Vector() = default;
  explicit(false) Vector(T all) {
    for (int i = 0; i < N; ++i) (*this)[i] = all;
  }
  template <typename... U>
    requires(sizeof...(U) == N)
  Vector(U... each) : Members{T(each)...} {}
  template <typename U>
  explicit Vector(const Vector<U, N>& other) {
    for (int i = 0; i < N; ++i) (*this)[i] = T(other[i]);
  }

  T& operator[](int i) { return (&this->x)[i]; }
  const T& operator[](int i) const { return (&this->x)[i]; }

#define OSS_EMU_OPERATOR(op)                             \
  friend Vector operator op(Vector a, const Vector& b) { \
    for (int i = 0; i < N; ++i) a[i] = T(a[i] op b[i]);  \
    return a;                                            \
  }                                                      \
  Vector& operator op## = (const Vector& b) { return *this = *this op b; }
  OSS_EMU_OPERATOR(+)
  OSS_EMU_OPERATOR(-)
  OSS_EMU_OPERATOR(*)
  OSS_EMU_OPERATOR(/)
#undef OSS_EMU_OPERATOR
#define OSS_EMU_OPERATOR(op)                            \
  friend Vector operator op(Vector a, const Vector& b)  \
    requires std::is_integral_v<T>                      \
  {                                                     \
    for (int i = 0; i < N; ++i) a[i] = T(a[i] op b[i]); \
    return a;                                           \
  }
  OSS_EMU_OPERATOR(&)
  OSS_EMU_OPERATOR(|)
  OSS_EMU_OPERATOR(^)
  OSS_EMU_OPERATOR(<<)
  OSS_EMU_OPERATOR(>>)
#undef OSS_EMU_OPERATOR
};

}  // namespace oss::emu
