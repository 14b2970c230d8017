// The current peak rates of memory and of each unit of the processor: the roofs that operations are compared with.
#pragma once
#include <span>
#include <string>

#include "bench/cpu/peaks.h"
#include "native/backend/backend.h"
#include "native/base/made_memory.h"

namespace oss::bench {

constexpr struct {
  Unit unit;
  const char* name;
} kUnits[] = {{Unit::kFloat32, "float32"}, {Unit::kFloat32Avx2, "float32_avx2"}, {Unit::kBf16, "bf16"},
              {Unit::kInt8, "int8"},       {Unit::kBf16Matrix, "bf16_matrix"},   {Unit::kInt8Matrix, "int8_matrix"}};
constexpr size_t kUnitCount = std::size(kUnits);

struct Roofs {
  double bytes_per_second = 0;
  double operations_per_second[kUnitCount] = {};  // 0: absent
};
Roofs higher(const Roofs& a, const Roofs& b);

class RoofMeter {
 public:
  // Reads `bytes` of memory, and runs each unit for `seconds` at a time.
  RoofMeter(int threads, size_t bytes, double seconds);
  Roofs measure() const;

 private:
  int threads_;
  double seconds_;
  MadeMemory memory_;
  std::span<const uint64_t> words_;
};

// The units that multiply in these kernels. bf16 is used for products with weights, and for attention on tiles.
Unit unit_of(const DeviceInfo& info, bool on_bf16_unit);

}  // namespace oss::bench
