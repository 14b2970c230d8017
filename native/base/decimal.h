// Exact decimal numbers, as JSON writes them. A double cannot represent the bounds of 64-bit integers exactly.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace oss {

__extension__ using Wide = unsigned __int128;

// 10^36: scaled values stay below it, and their sums below 2^128.
constexpr int kWideDigits = 36;
Wide wide_power_of_ten(int exponent);
std::string wide_text(Wide value);

class Decimal {
 public:
  Decimal() = default;  // zero
  explicit Decimal(int64_t value);
  // A number of JSON's grammar (RFC 8259).
  static Decimal of(std::string_view json);
  // The shortest decimal that reads back as this double.
  static Decimal of(double value);

  bool is_zero() const { return digits_.empty(); }
  bool is_negative() const { return negative_; }
  bool is_integer() const { return exponent_ >= 0; }
  // The number of digits after the point.
  int64_t places() const { return exponent_ < 0 ? -exponent_ : 0; }
  // The number of digits before the point; 0 or less for numbers below one.
  int64_t point() const { return int64_t(digits_.size()) + exponent_; }
  Decimal negated() const;
  double value() const;
  // One spelling for equal numbers: 1.50 and 15e-1 are both 1.5.
  std::string text() const;

  struct Scaled {
    Wide units;  // |number| · 10^places, rounded down; 10^kWideDigits for all larger numbers
    bool is_exact;
  };
  Scaled scaled(int places) const;

  friend int compare(const Decimal& a, const Decimal& b);

 private:
  bool negative_ = false;
  std::string digits_;    // without zeros at either end; empty: zero
  int64_t exponent_ = 0;  // the power of ten of the last digit
};

// Negative, zero or positive, as a < b, a = b or a > b.
int compare(const Decimal& a, const Decimal& b);

}  // namespace oss
