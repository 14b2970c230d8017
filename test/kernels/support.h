// Shared by the kernel tests: golden tensors, repeatable random numbers, a CPU backend per instruction set.
#pragma once
#include <bit>
#include <cmath>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "kernels/common/dtype.h"
#include "kernels/cpu/dispatch.h"
#include "native/backend/cpu/cpu_backend.h"
#include "native/loader/safetensors.h"
#include "test/native/check.h"

namespace oss::test {

inline SafetensorsFile golden(const std::string& name) {
  return read_safetensors(source_path("test/golden/kernels/" + name + ".safetensors"));
}

inline std::vector<double> doubles(const HostTensor& tensor) {
  const size_t n = size_t(tensor.elements());
  if (tensor.dtype == DType::kF64) return {tensor.as<double>(), tensor.as<double>() + n};
  return {tensor.as<float>(), tensor.as<float>() + n};
}
inline std::vector<float> floats(const HostTensor& tensor) {
  const std::vector<double> values = doubles(tensor);
  return {values.begin(), values.end()};
}

// Uniform in [-scale, scale], the same on every machine (std distributions are not).
inline std::vector<float> random_floats(size_t n, uint32_t seed, float scale = 1) {
  std::mt19937 engine(seed);
  std::vector<float> values(n);
  for (float& value : values) value = (float(engine() >> 8) / float(1 << 23) - 1) * scale;
  return values;
}
inline std::vector<uint16_t> random_bf16(size_t n, uint32_t seed, float scale = 1) {
  std::vector<uint16_t> values;
  for (const float value : random_floats(n, seed, scale)) values.push_back(f32_to_bf16(value));
  return values;
}
inline std::vector<uint8_t> random_bytes(size_t n, uint32_t seed, int least = 0, int most = 255) {
  std::mt19937 engine(seed);
  std::vector<uint8_t> values(n);
  for (uint8_t& value : values) value = uint8_t(least + int(engine() % uint32_t(most - least + 1)));
  return values;
}

// The possible rounding error of a float32 sum of n products, relative to the largest result: with random signs, errors
// of 2^-24 each grow like the square root.
inline double sum_tolerance(int n) { return std::sqrt(double(n)) * 0x1p-24; }

inline void check_bits(const char* file, int line, const std::string& what, const std::vector<float>& actual,
                       const std::vector<float>& expected) {
  if (actual.size() != expected.size())
    return fail(file, line, str(what, ": sizes ", actual.size(), ", ", expected.size()));
  for (size_t i = 0; i < actual.size(); ++i) {
    if (std::bit_cast<uint32_t>(actual[i]) != std::bit_cast<uint32_t>(expected[i])) {
      return fail(file, line,
                  str(what, " [", actual.size(), "]: first different bit at ", i, ": ", std::hexfloat, actual[i],
                      " and ", expected[i]));
    }
  }
}
#define CHECK_BITS(what, actual, expected) ::oss::test::check_bits(__FILE__, __LINE__, what, actual, expected)

// Instruction sets with fused multiply-add agree bit for bit; "scalar" rounds twice.
inline bool fused(const cpu::Kernels& kernels) { return std::string(kernels.isa) != "scalar"; }

// Operations only read their operands, but an Operand can also be written to.
inline Operand operand(const float* values) { return {const_cast<float*>(values)}; }

inline HostTensor tensor_of(const std::string& name, DType dtype, std::vector<int64_t> shape, const void* data) {
  HostTensor tensor{name, "test", dtype, std::move(shape), static_cast<const std::byte*>(data), 0};
  tensor.bytes = size_t(tensor.elements()) * dtype_bytes(dtype);
  return tensor;
}

}  // namespace oss::test
