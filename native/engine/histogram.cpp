#include "native/engine/histogram.h"

#include <algorithm>
#include <cmath>

namespace oss {
namespace {

constexpr double kSmallestExponent = -3;  // the second bucket begins at 10^-3

}  // namespace

void Histogram::add(double value) {
  if (!(value >= 0) || std::isinf(value)) return;
  const double place = (std::log10(value) - kSmallestExponent) * kPerDecade;  // -infinity for 0
  const double last = double(buckets_.size() - 1);
  ++buckets_[size_t(std::clamp(std::floor(place) + 1, 0.0, last))];
  ++count_;
  sum_ += value;
  max_ = std::max(max_, value);
}

double Histogram::percentile(double share) const {
  if (count_ == 0) return 0;
  const double wanted = std::ceil((share > 0 ? std::min(share, 1.0) : 0.0) * double(count_));
  const uint64_t rank = std::max<uint64_t>(uint64_t(wanted), 1);  // rank among the sorted values, from 1
  if (rank >= count_) return max_;
  uint64_t below = 0;
  size_t bucket = 0;
  while (below + buckets_[bucket] < rank) below += buckets_[bucket++];
  if (bucket == 0) return 0;
  if (bucket == buckets_.size() - 1) return max_;
  const double middle = std::pow(10.0, (double(bucket) - 0.5) / kPerDecade + kSmallestExponent);
  return std::min(middle, max_);
}

std::vector<Histogram::Bucket> Histogram::buckets() const {
  std::vector<Bucket> filled;
  for (size_t i = 0; i < buckets_.size(); ++i) {
    if (buckets_[i] == 0) continue;
    const double border = std::pow(10.0, (double(i) - 1) / kPerDecade + kSmallestExponent);
    filled.push_back({i == 0 ? 0 : border, buckets_[i]});
  }
  return filled;
}

}  // namespace oss
