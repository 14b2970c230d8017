#include "native/base/decimal.h"

#include <algorithm>
#include <charconv>
#include <locale>
#include <sstream>

namespace oss {

Wide wide_power_of_ten(int exponent) {
  Wide out = 1;
  while (exponent-- > 0) out *= 10;
  return out;
}

std::string wide_text(Wide value) {
  std::string out;
  do out += char('0' + int(value % 10));
  while ((value /= 10) > 0);
  std::reverse(out.begin(), out.end());
  return out;
}

Decimal::Decimal(int64_t value) { *this = of(std::to_string(value)); }

Decimal Decimal::of(std::string_view json) {
  constexpr int64_t kFarthest = 1'000'000'000;  // larger exponents make no difference
  Decimal out;
  out.negative_ = json.starts_with('-');
  if (out.negative_) json.remove_prefix(1);
  const size_t power = std::min(json.find_first_of("eE"), json.size());
  const size_t point = std::min(json.find('.'), power);
  out.digits_ = json.substr(0, point);
  if (point < power) out.digits_ += json.substr(point + 1, power - point - 1);
  if (power < json.size()) {
    std::string_view exponent = json.substr(power + 1);
    if (exponent.starts_with('+')) exponent.remove_prefix(1);
    const auto [end, error] = std::from_chars(exponent.data(), exponent.data() + exponent.size(), out.exponent_);
    if (error != std::errc()) out.exponent_ = exponent.starts_with('-') ? -kFarthest : kFarthest;
    out.exponent_ = std::clamp(out.exponent_, -kFarthest, kFarthest);
  }
  if (point < power) out.exponent_ -= int64_t(power - point - 1);
  out.digits_.erase(0, std::min(out.digits_.find_first_not_of('0'), out.digits_.size()));
  const size_t end = out.digits_.find_last_not_of('0') + 1;  // npos + 1 is 0
  out.exponent_ += int64_t(out.digits_.size() - end);
  out.digits_.resize(end);
  if (out.digits_.empty()) out = Decimal();
  return out;
}

Decimal Decimal::of(double value) {
  char text[40];
  const auto [end, error] = std::to_chars(text, text + sizeof text, value);
  return error == std::errc() ? of(std::string_view(text, size_t(end - text))) : Decimal();
}

Decimal Decimal::negated() const {
  Decimal out = *this;
  out.negative_ = !negative_ && !is_zero();
  return out;
}

double Decimal::value() const {
  // A stream with the classic locale, because strtod uses the locale of the process.
  std::istringstream stream((negative_ ? "-" : "") + (is_zero() ? std::string("0") : digits_) + "e" +
                            std::to_string(exponent_));
  stream.exceptions(std::ios::badbit);  // without memory it would report that this is not a number
  stream.imbue(std::locale::classic());
  double out = 0;
  stream >> out;
  return out;
}

std::string Decimal::text() const {
  if (is_zero()) return "0";
  constexpr int64_t kLongest = 21, kShortest = -6;  // beyond them with an exponent, as in JavaScript
  const std::string sign = negative_ ? "-" : "";
  const int64_t at = point();
  if (at > kLongest || at <= kShortest) {
    const std::string fraction = digits_.size() > 1 ? "." + digits_.substr(1) : "";
    return sign + digits_[0] + fraction + (at > 0 ? "e+" : "e") + std::to_string(at - 1);
  }
  if (at <= 0) return sign + "0." + std::string(size_t(-at), '0') + digits_;
  if (exponent_ >= 0) return sign + digits_ + std::string(size_t(exponent_), '0');
  return sign + digits_.substr(0, size_t(at)) + "." + digits_.substr(size_t(at));
}

Decimal::Scaled Decimal::scaled(int places) const {
  if (is_zero()) return {0, true};
  const int64_t length = point() + places;  // digits before the point, after scaling
  if (length > kWideDigits) return {wide_power_of_ten(kWideDigits), false};
  Wide units = 0;
  for (int64_t i = 0; i < length; ++i) {
    units = units * 10 + Wide(i < int64_t(digits_.size()) ? digits_[size_t(i)] - '0' : 0);
  }
  return {units, int64_t(digits_.size()) <= std::max<int64_t>(length, 0)};
}

int compare(const Decimal& a, const Decimal& b) {
  const auto order = [](int64_t one, int64_t other) { return int(one > other) - int(one < other); };
  const auto sign = [](const Decimal& d) { return d.is_zero() ? 0 : d.negative_ ? -1 : 1; };
  if (sign(a) != sign(b) || a.is_zero()) return order(sign(a), sign(b));
  const int of_size = a.point() != b.point() ? order(a.point(), b.point()) : order(a.digits_.compare(b.digits_), 0);
  return sign(a) * of_size;
}

}  // namespace oss
