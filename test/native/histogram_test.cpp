#include "native/engine/histogram.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "test/native/check.h"

namespace oss {
namespace {

bool within_10_percent(double actual, double expected) { return std::fabs(actual - expected) <= 0.1 * expected; }

TEST("histogram: empty") {
  const Histogram histogram;
  CHECK_EQ(histogram.percentile(0.5), 0.0);
  CHECK_EQ(histogram.count(), 0u);
  CHECK_EQ(histogram.sum(), 0.0);
  CHECK_EQ(histogram.max(), 0.0);
}

TEST("histogram: one value is found again, over the whole range") {
  for (double value = 1e-3; value < 1e9; value *= 1.013) {
    Histogram histogram;
    histogram.add(value);
    histogram.add(value * 1000);  // so that the smaller value is not the largest, which is known exactly
    CHECK(within_10_percent(histogram.percentile(0.5), value));
    CHECK_EQ(histogram.percentile(1), value * 1000);
  }
}

TEST("histogram: the borders of the buckets") {
  for (int exponent = -3; exponent <= 9; ++exponent) {
    const double border = std::pow(10.0, exponent);
    for (const double value : {std::nextafter(border, 0), border, std::nextafter(border, 1e300)}) {
      Histogram histogram;
      histogram.add(value);
      CHECK(within_10_percent(histogram.percentile(0.5), value));
    }
  }
}

TEST("histogram: zero, tiny, huge; negative and non-finite values are ignored") {
  Histogram histogram;
  for (const double value : {0.0, -0.0, 5e-324, 1e-9}) histogram.add(value);
  histogram.add(5);
  CHECK_EQ(histogram.percentile(0.5), 0.0);
  CHECK_EQ(histogram.percentile(1), 5.0);
  for (const double value : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity(),
                             -std::numeric_limits<double>::infinity(), -1.0}) {
    histogram.add(value);
  }
  CHECK_EQ(histogram.count(), 5u);
  CHECK_EQ(histogram.sum(), 5 + 1e-9);
  CHECK_EQ(histogram.max(), 5.0);
  for (int i = 0; i < 10; ++i) histogram.add(1e300);
  CHECK_EQ(histogram.percentile(0.9), 1e300);
  CHECK_EQ(histogram.max(), 1e300);
}

TEST("histogram: shares outside 0 .. 1 give the ends") {
  Histogram histogram;
  histogram.add(1);
  histogram.add(100);
  for (const double share : {-1.0, 0.0, std::numeric_limits<double>::quiet_NaN()}) {
    CHECK(within_10_percent(histogram.percentile(share), 1));
  }
  CHECK_EQ(histogram.percentile(7), 100.0);
}

TEST("histogram: percentiles of random values") {
  std::mt19937 random(1);
  std::lognormal_distribution<double> times(2, 1.5);
  Histogram histogram;
  std::vector<double> values;
  double sum = 0;
  for (int i = 0; i < 10007; ++i) {
    values.push_back(times(random));
    histogram.add(values.back());
    sum += values.back();
  }
  std::sort(values.begin(), values.end());
  for (const double share : {0.001, 0.1, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0}) {
    const size_t rank = size_t(std::ceil(share * double(values.size())));
    CHECK(within_10_percent(histogram.percentile(share), values[rank - 1]));
  }
  CHECK_EQ(histogram.count(), values.size());
  CHECK_EQ(histogram.sum(), sum);
  CHECK_EQ(histogram.max(), values.back());
}

TEST("histogram: buckets hold every value, in order, from their borders on") {
  Histogram histogram;
  CHECK(histogram.buckets().empty());
  for (const double value : {0.0, 1e-4, 0.5, 0.5, 7.0, 1e12}) histogram.add(value);
  const auto buckets = histogram.buckets();
  CHECK_EQ(buckets.size(), size_t(4));
  CHECK_EQ(buckets[0].from, 0.0);
  CHECK_EQ(buckets[0].count, uint64_t(2));
  CHECK(buckets[1].from <= 0.5 && buckets[1].from * 1.13 > 0.5);
  CHECK_EQ(buckets[1].count, uint64_t(2));
  CHECK(buckets[2].from <= 7 && buckets[2].from * 1.13 > 7);
  CHECK(std::fabs(buckets[3].from - 1e9) < 1);
  CHECK_EQ(buckets[3].count, uint64_t(1));
}

}  // namespace
}  // namespace oss
