// Inputs and comparisons for kernels whose inputs or results are narrower than float32.
#pragma once
#include "test/kernels/cuda/support.h"

namespace oss::test {

// Repeatable values in [-scale, scale] that bf16 holds exactly, so that a test compares sums, not the rounding of its
// inputs.
inline std::vector<float> exact_values(size_t size, uint32_t seed, float scale = 1) {
  std::mt19937 random(seed);
  std::vector<float> out(size);
  for (float& value : out) value = bf16_to_f32(f32_to_bf16((float(random() >> 8) * 0x1p-23f - 1) * scale));
  return out;
}

// The error of a float32 sum of n products on a tensor core, relative to the largest result. Each mma cuts its products
// and the running sum to 24 bits, an error of up to 2^-23 of the largest. With random signs errors grow like the square
// root. Of thousands of results, the worst can have twice that.
inline double matrix_tolerance(int n) { return std::sqrt(double(n)) * 0x1p-22; }

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

// The counts of a step, in its device memory.
class DeviceCounts {
 public:
  DeviceCounts(CudaDevice& device, int tokens, int rows = 0)
      : counts_(device, std::vector<cuda::StepCounts>{{tokens, 1, rows, 0}}) {}
  const cuda::StepCounts* data() const { return counts_.data(); }

 private:
  DeviceArray<cuda::StepCounts> counts_;
};

inline double largest(const std::vector<double>& values) {
  double most = 0;
  for (const double value : values) most = std::max(most, std::abs(value));
  return most;
}

template <typename T>
bool is_poison(const T& value) {
  unsigned char bytes[sizeof(T)];
  std::memcpy(bytes, &value, sizeof(T));
  for (const unsigned char byte : bytes) {
    if (byte != 0xCD) return false;
  }
  return true;
}

}  // namespace oss::test
