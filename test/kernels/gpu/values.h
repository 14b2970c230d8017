// Inputs and comparisons for GPU kernels whose inputs or results are narrower than float32.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "kernels/common/dtype.h"
#include "test/kernels/support.h"

namespace oss::test {

// Repeatable values in [-scale, scale] that bf16 holds exactly, so that a test compares sums, not the rounding of its
// inputs.
inline std::vector<float> exact_values(size_t size, uint32_t seed, float scale = 1) {
  std::vector<float> out = random_floats(size, seed, scale);
  for (float& value : out) value = bf16_to_f32(f32_to_bf16(value));
  return out;
}

inline std::vector<uint16_t> to_bf16(const std::vector<float>& values) {
  std::vector<uint16_t> bits;
  for (const float value : values) bits.push_back(f32_to_bf16(value));
  return bits;
}

inline std::vector<float> from_bf16(const std::vector<uint16_t>& bits) {
  std::vector<float> values;
  for (const uint16_t value : bits) values.push_back(bf16_to_f32(value));
  return values;
}

inline float widened(uint16_t bits) { return bf16_to_f32(bits); }
inline float widened(uint8_t bits) { return e4m3_to_f32(bits); }
template <typename T>
T narrowed(double value) {
  if constexpr (sizeof(T) == 1)
    return f32_to_e4m3(float(value));
  else
    return f32_to_bf16(float(value));
}

// Rounding is monotonic. A value within `tolerance` of `expected` before it is narrowed to T lies between the narrowed
// bounds afterwards.
template <typename T>
bool is_rounded(T actual, double expected, double tolerance) {
  const float value = widened(actual);
  return value >= widened(narrowed<T>(expected - tolerance)) && value <= widened(narrowed<T>(expected + tolerance));
}

inline double largest(const std::vector<double>& values) {
  double most = 0;
  for (const double value : values) most = std::max(most, std::abs(value));
  return most;
}

// Memory of a device that nothing wrote.
template <typename T>
bool is_poison(const T& value) {
  unsigned char bytes[sizeof(T)];
  std::memcpy(bytes, &value, sizeof(T));
  return std::ranges::all_of(bytes, [](unsigned char byte) { return byte == 0xCD; });
}

// The rows [first, first + count) of [rows, width].
template <typename T>
std::vector<T> rows_of(const std::vector<T>& of, int width, int first, int count) {
  return {of.begin() + ptrdiff_t(first) * width, of.begin() + ptrdiff_t(first + count) * width};
}

// `actual` must be these rows of a table, exactly, with nothing written behind them.
inline void check_rows(const std::string& what, const std::vector<float>& actual, const std::vector<float>& table,
                       int width, const std::vector<int32_t>& rows) {
  for (size_t i = 0; i < actual.size(); ++i) {
    const size_t r = i / size_t(width), col = i % size_t(width);
    if (r < rows.size() ? actual[i] != table[size_t(rows[r]) * size_t(width) + col] : !is_poison(actual[i]))
      return fail(__FILE__, __LINE__, str(what, ": width ", width, ", row ", r, ", column ", col, " is ", actual[i]));
  }
}

}  // namespace oss::test
