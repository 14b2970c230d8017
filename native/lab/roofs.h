// The peak rates of a device at this moment, beside which operations are shown: how fast it reads memory, and how fast it
// multiplies with all values in registers.
#pragma once
#include <optional>
#include <string>

#include "native/lab/lab.h"

namespace oss::lab {

struct UnitRoof {
  std::string instruction;
  double flops_per_second = 0;
};

struct Roofs {
  double bytes_per_second = 0;      // 0: not known
  std::string bytes_by;             // what was measured
  std::optional<UnitRoof> float32;  // empty: not known
  std::optional<UnitRoof> bf16;     // empty: the device has no such unit, or it is not known
};

// cold_bytes: that a pass over memory reads. seconds: that each unit is run for, five times.
Roofs measure_roofs(Lab& lab, size_t cold_bytes, double seconds);

}  // namespace oss::lab
