// Decimal numbers as JSON writes them, exactly: bounds of 64-bit integers lie beyond what a double tells apart.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace oss {

__extension__ using Wide = unsigned __int128;

// 10^36: what is scaled stays below it, and its sums below 2^128.
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
  // Digits after the point that it needs.
  int64_t places() const { return exponent_ < 0 ? -exponent_ : 0; }
  // Digits before the point; 0 or less below one.
  int64_t point() const { return int64_t(digits_.size()) + exponent_; }
  Decimal negated() const;
  double value() const;
  // In one spelling, whatever it was written like: 1.50 and 15e-1 are 1.5.
  std::string text() const;

  struct Scaled {
    Wide units;  // |number| · 10^places, rounded down; 10^kWideDigits for all that is larger
    bool is_exact;
  };
  Scaled scaled(int places) const;

  friend int compare(const Decimal& a, const Decimal& b);

 private:
  bool negative_ = false;
  std::string digits_;    // without zeros at either end; empty: zero
  int64_t exponent_ = 0;  // of the last digit
};

// Below zero, zero or above it, as a < b, a = b or a > b.
int compare(const Decimal& a, const Decimal& b);

}  // namespace oss
