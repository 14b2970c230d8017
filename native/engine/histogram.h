// A histogram of positive values with logarithmic buckets: percentiles within 10 % at a fixed, small size.
#pragma once
#include <array>
#include <cstdint>
#include <vector>

namespace oss {

class Histogram {
 public:
  // Ignores negative values and values that are not finite.
  void add(double value);
  // Returns the value up to which `share` (0 .. 1) of the values lie; 0 when there is none. A value below 10^-3 reads
  // as 0, one above 10^9 as the maximum; the maximum itself is exact.
  double percentile(double share) const;
  // A bucket holds the values from `from` up to the begin of the next bucket; empty buckets are left out.
  struct Bucket {
    double from;
    uint64_t count;
  };
  std::vector<Bucket> buckets() const;
  uint64_t count() const { return count_; }
  double sum() const { return sum_; }
  double max() const { return max_; }

 private:
  // 10^-3 .. 10^9 in 20 buckets per factor of 10 (12 % wide: within 6 % of the middle), plus one below and one above.
  static constexpr int kPerDecade = 20, kDecades = 12;
  std::array<uint64_t, kPerDecade * kDecades + 2> buckets_{};
  uint64_t count_ = 0;
  double sum_ = 0, max_ = 0;
};

}  // namespace oss
