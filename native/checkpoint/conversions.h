// What the conversion of a checkpoint changed: values that bf16 does not hold, and experts that became MXFP4 at load.
#pragma once
#include <cmath>
#include <cstdint>
#include <mutex>
#include <string>

namespace oss {

struct ConversionSum {
  uint64_t values = 0, changed = 0;
  double squares = 0, error_squares = 0;  // of the values, and of new - old
  double largest_error = 0;               // absolute
  std::string largest_in{};               // the tensor with that error

  double relative_rms() const { return squares > 0 ? std::sqrt(error_squares / squares) : 0; }

  void add(double value, double error) {
    ++values;
    squares += value * value;
    if (error == 0) return;
    ++changed;
    error_squares += error * error;
    largest_error = std::fmax(largest_error, std::fabs(error));
  }
};

// Counts each value that a source has converted, as often as it converts it. Any thread.
class Conversions {
 public:
  enum Kind { kDense, kExperts };

  void add(Kind kind, const std::string& tensor, const ConversionSum& part) {
    std::lock_guard lock(mutex_);
    ConversionSum& sum = sums_[kind];
    sum.values += part.values;
    sum.changed += part.changed;
    sum.squares += part.squares;
    sum.error_squares += part.error_squares;
    if (part.largest_error <= sum.largest_error) return;
    sum.largest_error = part.largest_error;
    sum.largest_in = tensor;
  }
  ConversionSum sum(Kind kind) const {
    std::lock_guard lock(mutex_);
    return sums_[kind];
  }

 private:
  mutable std::mutex mutex_;
  ConversionSum sums_[2];
};

}  // namespace oss
