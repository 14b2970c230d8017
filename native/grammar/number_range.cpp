#include "native/grammar/number_range.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <vector>

#include "native/base/error.h"
#include "native/base/str.h"
#include "native/grammar/json_text.h"

namespace oss::grammar {
namespace {

constexpr int64_t kLargest = 999'999'999'999'999;  // kDigits nines

int64_t power_of_ten(size_t exponent) {
  int64_t out = 1;
  while (exponent-- > 0) out *= 10;
  return out;
}

// The integers of a range, kLargest at most.
struct Integers {
  int64_t first, last;
};
Integers integers_of(const NumberBounds& bounds) {
  Integers out = {-kLargest, kLargest};
  const auto clamped = [](double value) { return int64_t(std::clamp(value, -2e15, 2e15)); };
  if (bounds.min) {
    const double least = std::ceil(bounds.min->value);
    out.first = std::max(out.first, clamped(least) + (bounds.min->exclusive && least == bounds.min->value ? 1 : 0));
  }
  if (bounds.max) {
    const double most = std::floor(bounds.max->value);
    out.last = std::min(out.last, clamped(most) - (bounds.max->exclusive && most == bounds.max->value ? 1 : 0));
  }
  return out;
}

// Texts of as many digits as the bounds have, between them.
NodeId digits_between(Graph& graph, std::string_view low, std::string_view high, NodeId next) {
  if (low.empty()) return next;
  const std::string nines(low.size() - 1, '9'), zeros(low.size() - 1, '0');
  const std::string_view low_rest = low.substr(1), high_rest = high.substr(1);
  const auto digit = [&](char from, char to, std::string_view rest_low, std::string_view rest_high) {
    return from > to ? Graph::kNowhere
                     : graph.range(uint8_t(from), uint8_t(to), digits_between(graph, rest_low, rest_high, next));
  };
  if (low[0] == high[0]) return digit(low[0], high[0], low_rest, high_rest);
  char first = low[0], last = high[0];
  std::vector<NodeId> ways;
  if (low_rest != zeros) ways.push_back(digit(first, first, low_rest, nines)), ++first;
  if (high_rest != nines) ways.push_back(digit(last, last, zeros, high_rest)), --last;
  ways.push_back(digit(first, last, zeros, nines));
  return graph.any_of(std::move(ways));
}

// 0 <= first; without leading zeros.
NodeId naturals(Graph& graph, int64_t first, int64_t last, NodeId next) {
  std::vector<NodeId> ways;
  for (size_t length = 1; length <= kDigits; ++length) {
    const int64_t low = std::max(first, length == 1 ? 0 : power_of_ten(length - 1));
    const int64_t high = std::min(last, power_of_ten(length) - 1);
    if (low <= high) ways.push_back(digits_between(graph, std::to_string(low), std::to_string(high), next));
  }
  return graph.any_of(std::move(ways));
}

// A decimal fraction >= 0.
struct Decimal {
  int64_t whole;
  std::string digits;  // after the point
};

Decimal decimal_of(double value, const std::string& path) {
  char text[400];
  const auto [end, error] = std::to_chars(text, text + sizeof text, value, std::chars_format::fixed);
  std::string all(text, error == std::errc() ? end : text);
  const size_t point = std::min(all.find('.'), all.size());
  Decimal out = {0, point < all.size() ? all.substr(point + 1) : ""};
  std::from_chars(all.data(), all.data() + point, out.whole);
  if (point + out.digits.size() > kDigits + 1) {
    throw Error(Code::kInvalidArgument, str(path, ": a bound with more than ", kDigits, " digits is not supported"));
  }
  return out;
}

// Nothing, or a point and digits, such that as a number of `low.size()` digits they lie between the two, both included.
NodeId fraction_digits(Graph& graph, std::string_view low, std::string_view high, NodeId next) {
  const bool may_end = low.find_first_not_of('0') == low.npos;
  if (low.empty()) return next;
  const std::string nines(low.size() - 1, '9'), zeros(low.size() - 1, '0');
  const std::string_view low_rest = low.substr(1), high_rest = high.substr(1);
  const auto digit = [&](char from, char to, std::string_view rest_low, std::string_view rest_high) {
    return from > to ? Graph::kNowhere
                     : graph.range(uint8_t(from), uint8_t(to), fraction_digits(graph, rest_low, rest_high, next));
  };
  std::vector<NodeId> ways;
  if (may_end) ways.push_back(next);
  if (low[0] == high[0]) {
    ways.push_back(digit(low[0], high[0], low_rest, high_rest));
    return graph.any_of(std::move(ways));
  }
  char first = low[0], last = high[0];
  if (low_rest != zeros) ways.push_back(digit(first, first, low_rest, nines)), ++first;
  if (high_rest != nines) ways.push_back(digit(last, last, zeros, high_rest)), --last;
  ways.push_back(digit(first, last, zeros, nines));
  return graph.any_of(std::move(ways));
}

NodeId fraction(Graph& graph, std::string low, std::string high, NodeId next) {
  if (low > high) return Graph::kNowhere;
  // The first digit must come: a point alone is no number.
  const auto digits = [&]() {
    std::vector<NodeId> ways;
    for (char d = low[0]; d <= high[0]; ++d) {
      const std::string rest_low = d == low[0] ? low.substr(1) : std::string(low.size() - 1, '0');
      const std::string rest_high = d == high[0] ? high.substr(1) : std::string(low.size() - 1, '9');
      ways.push_back(graph.range(uint8_t(d), uint8_t(d), fraction_digits(graph, rest_low, rest_high, next)));
    }
    return graph.any_of(std::move(ways));
  };
  std::vector<NodeId> ways;
  if (low.find_first_not_of('0') == low.npos) ways.push_back(next);
  if (!low.empty()) ways.push_back(graph.text(".", digits()));
  return graph.any_of(std::move(ways));
}

// Adds one to, or takes one from, a number written with these digits; false when that leads out of them.
bool count(std::string& digits, int by) {
  for (size_t i = digits.size(); i-- > 0;) {
    const bool carries = digits[i] == (by > 0 ? '9' : '0');
    digits[i] = carries ? (by > 0 ? '0' : '9') : char(digits[i] + by);
    if (!carries) return true;
  }
  return false;
}

// 0 <= low; `high` absent: kLargest.
NodeId magnitudes(Graph& graph, const NumberBound& low, std::optional<NumberBound> high, const std::string& path,
                  NodeId next) {
  if (!high || high->value > double(kLargest)) high = NumberBound{double(kLargest)};
  if (high->value < low.value) return Graph::kNowhere;
  // Large numbers have no digits to spare for a fraction.
  constexpr int64_t kLargestWithFraction = 999'999'999;
  if (high->value > double(kLargestWithFraction)) {
    const auto [first, last] = integers_of({.min = low, .max = high});
    const NodeId large = naturals(graph, std::max(first, kLargestWithFraction + 1), last, next);
    return graph.any_of({magnitudes(graph, low, NumberBound{double(kLargestWithFraction)}, path, next), large});
  }
  const Decimal a = decimal_of(low.value, path), b = decimal_of(high->value, path);
  const size_t whole_digits = std::to_string(b.whole).size();
  const size_t free = kDigits > whole_digits ? std::min<size_t>(6, kDigits - whole_digits) : 0;
  const size_t places = std::max({a.digits.size(), b.digits.size(), free});
  const auto padded = [&](const std::string& digits) { return digits + std::string(places - digits.size(), '0'); };
  const std::string zeros(places, '0'), nines(places, '9');
  std::string from = padded(a.digits), to = padded(b.digits);
  const bool has_low = !low.exclusive || count(from, 1), has_high = !high->exclusive || count(to, -1);
  const auto exactly = [&](int64_t whole, NodeId then) { return graph.text(std::to_string(whole), then); };
  if (a.whole == b.whole) {
    return has_low && has_high ? exactly(a.whole, fraction(graph, from, to, next)) : Graph::kNowhere;
  }
  std::vector<NodeId> ways;
  if (has_low) ways.push_back(exactly(a.whole, fraction(graph, from, nines, next)));
  if (has_high) ways.push_back(exactly(b.whole, fraction(graph, zeros, to, next)));
  if (a.whole + 1 <= b.whole - 1) {
    ways.push_back(naturals(graph, a.whole + 1, b.whole - 1, fraction(graph, zeros, nines, next)));
  }
  return graph.any_of(std::move(ways));
}

}  // namespace

NodeId integer_within(Graph& graph, const NumberBounds& bounds, NodeId next) {
  const auto [first, last] = integers_of(bounds);
  std::vector<NodeId> ways;
  if (last >= 0) ways.push_back(naturals(graph, std::max<int64_t>(first, 0), last, next));
  if (first < 0) ways.push_back(graph.text("-", naturals(graph, std::max<int64_t>(1, -last), -first, next)));
  return graph.any_of(std::move(ways));
}

NodeId number_within(Graph& graph, const NumberBounds& bounds, const std::string& path, NodeId next) {
  std::vector<NodeId> ways;
  const auto& [min, max] = bounds;
  if (!max || max->value > 0 || (max->value == 0 && !max->exclusive)) {
    const NumberBound low = min && min->value >= 0 ? *min : NumberBound{0};
    ways.push_back(magnitudes(graph, low, max, path, next));
  }
  if (!min || min->value < 0) {
    const NumberBound low = max && max->value < 0 ? NumberBound{-max->value, max->exclusive} : NumberBound{0, true};
    std::optional<NumberBound> high;
    if (min) high = NumberBound{-min->value, min->exclusive};
    ways.push_back(graph.text("-", magnitudes(graph, low, high, path, next)));
  }
  return graph.any_of(std::move(ways));
}

NodeId multiple_within(Graph& graph, const NumberBounds& bounds, double step, const std::string& path, NodeId next) {
  constexpr int64_t kMostEnumerated = 4096, kLargestStep = 1000;
  if (step < 1 || step != std::floor(step) || step > double(kLargest)) {
    throw Error(Code::kInvalidArgument, str(path, ": multipleOf is supported with a positive integer only"));
  }
  const auto [first, last] = integers_of(bounds);
  const int64_t by = int64_t(step);
  const auto floored = [&](int64_t value) { return value >= 0 ? value / by : -((-value + by - 1) / by); };
  const int64_t least = floored(first - 1) + 1, most = floored(last);  // multiples of `by`
  if (least > most) return Graph::kNowhere;
  if (most - least < kMostEnumerated) {
    std::vector<std::string> texts;
    for (int64_t k = least; k <= most; ++k) texts.push_back(std::to_string(k * by));
    return graph.choice(std::move(texts), next);
  }
  const bool has_positive = last == kLargest, has_negative = first == -kLargest;
  const bool touches_zero = (has_positive && (has_negative || (first >= 0 && first <= 1))) ||
                            (has_negative && (last == 0 || last == -1));
  if (by > kLargestStep || !touches_zero) {
    throw Error(Code::kInvalidArgument,
                str(path, ": multipleOf ", by, " is supported where at most ", kMostEnumerated,
                    " values lie between the bounds, or for steps up to ", kLargestStep, " with no bound but zero"));
  }
  // What the digits so far leave when divided: one node for each remainder and count of digits.
  std::vector<NodeId> after(size_t(by), Graph::kNowhere);
  for (uint32_t left = 0; left < kDigits; ++left) {
    std::vector<NodeId> now(static_cast<size_t>(by));
    for (int64_t rest = 0; rest < by; ++rest) {
      std::vector<Edge> edges;
      for (int digit = 0; digit <= 9 && left > 0; ++digit) {
        const uint8_t byte = uint8_t('0' + digit);
        edges.push_back({byte, byte, after[size_t((rest * 10 + digit) % by)]});
      }
      const NodeId more = graph.ranges(std::move(edges));
      now[size_t(rest)] = rest == 0 ? graph.any_of({next, more}) : more;
    }
    after = std::move(now);
  }
  std::vector<Edge> leading;
  for (int digit = 1; digit <= 9; ++digit) {
    const uint8_t byte = uint8_t('0' + digit);
    leading.push_back({byte, byte, after[size_t(digit % by)]});
  }
  const NodeId natural = graph.ranges(std::move(leading));
  std::vector<NodeId> ways;
  if (first <= 0 && last >= 0) ways.push_back(graph.text("0", next));
  if (has_positive) ways.push_back(natural);
  if (has_negative) ways.push_back(graph.text("-", natural));
  return graph.any_of(std::move(ways));
}

}  // namespace oss::grammar
