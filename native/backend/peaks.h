// The peak rates of a device at this moment, beside which operations are shown: how fast it reads memory, and how fast it
// multiplies with all values in registers.
#pragma once
#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>

namespace oss {

struct UnitPeak {
  std::string instruction;
  double flops_per_second = 0;  // a multiplication and an addition are two
};

struct Peaks {
  double bytes_per_second = 0;
  std::string bytes_by;  // what was measured
  UnitPeak float32;
  std::optional<UnitPeak> bf16;  // empty: no such unit multiplies
};

constexpr int kPeakPasses = 7;  // over memory; the best one counts
constexpr int kPeakTries = 5;   // of a unit; likewise

// Of a GPU's unit. multiply(rounds) returns the flops of so many rounds, and sets the seconds that they took. Rounds
// become more until they take `least` seconds.
template <typename Multiply>
double best_flops_per_second(double least, const Multiply& multiply) {
  int rounds = 1;
  double seconds = 0;
  for (multiply(rounds, seconds); seconds < least && rounds < (1 << 24); multiply(rounds, seconds)) rounds *= 4;
  double best = 0;
  for (int tries = 0; tries < kPeakTries; ++tries) {
    const double flops = multiply(rounds, seconds);
    best = std::max(best, flops / seconds);
  }
  return best;
}

}  // namespace oss
