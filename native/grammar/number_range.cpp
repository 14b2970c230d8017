#include "native/grammar/number_range.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <vector>

#include "native/base/error.h"
#include "native/base/str.h"
#include "native/grammar/json_text.h"

namespace oss::grammar {
namespace {

// The digits after the point, by the digits before it. Together they have the 17 digits that float64 distinguishes, or
// one more, because some numbers begin with zeros.
struct Places {
  int most_digits, places;
};
constexpr Places kPlaces[] = {{1, 18}, {10, 7}, {13, 4}, {int(kDigits), 0}};

// Writes the multiples of step · 10^-places between two of them, digit by digit. Zeros at the end of a fraction are
// optional.
class Multiples {
 public:
  static constexpr size_t kMostStates = 30'000;
  struct TooMany {};

  Multiples(Graph& graph, int places, uint64_t step, NodeId next)
      : graph_(graph), places_(places), step_(step), next_(next) {
    powers_.push_back(1 % step);
    for (int i = 0; i < kWideDigits + 2; ++i) powers_.push_back(powers_.back() * 10 % step);
  }

  // Between low · 10^-places and high · 10^-places, both below 10^kWideDigits.
  NodeId between(Wide low, Wide high) {
    std::vector<NodeId> ways;
    for (int length = places_ + 1; length <= kWideDigits; ++length) {
      const Wide least = length == places_ + 1 ? 0 : wide_power_of_ten(length - 1);
      const Wide from = std::max(low, least), to = std::min(high, wide_power_of_ten(length) - 1);
      if (from <= to) ways.push_back(write(padded(from, length), padded(to, length), 0, true, true));
    }
    return graph_.any_of(std::move(ways));
  }

 private:
  static std::string padded(Wide value, int length) {
    const std::string text = wide_text(value);
    return std::string(size_t(length) - text.size(), '0') + text;
  }

  // low, high: the remaining digits of the bounds, used while all digits so far equal them (on_low, on_high). rest: the
  // digits so far, followed by zeros, modulo step.
  NodeId write(const std::string& low, const std::string& high, uint64_t rest, bool on_low, bool on_high) {
    const int left = int(low.size());
    on_low = on_low && low.find_first_not_of('0') != low.npos;
    on_high = on_high && high.find_first_not_of('9') != high.npos;
    const bool may_end = left <= places_ && rest == 0 && !on_low;
    if (left == 0) return may_end ? next_ : Graph::kNowhere;
    const bool is_free = !on_low && !on_high;
    const auto known = is_free ? free_.find({left, rest}) : free_.end();
    if (known != free_.end()) return known->second;
    if (++states_ > kMostStates) throw TooMany();
    std::vector<Edge> edges;
    const std::string low_rest = low.substr(1), high_rest = high.substr(1);
    for (char digit = on_low ? low[0] : '0'; digit <= (on_high ? high[0] : '9'); ++digit) {
      const uint64_t then = (rest + uint64_t(digit - '0') * powers_[size_t(left - 1)]) % step_;
      const NodeId to = write(low_rest, high_rest, then, on_low && digit == low[0], on_high && digit == high[0]);
      if (!edges.empty() && edges.back().to == to) {
        edges.back().last = uint8_t(digit);
      } else {
        edges.push_back({uint8_t(digit), uint8_t(digit), to});
      }
    }
    NodeId start = graph_.ranges(std::move(edges));
    if (left == places_) start = graph_.text(".", start);
    if (may_end) start = graph_.any_of({next_, start});
    if (is_free) free_[{left, rest}] = start;
    return start;
  }

  Graph& graph_;
  const int places_;
  const uint64_t step_;
  const NodeId next_;
  std::vector<uint64_t> powers_;  // of ten, modulo step
  std::map<std::pair<int, uint64_t>, NodeId> free_;
  size_t states_ = 0;
};

// A range of numbers of one sign, without the sign.
struct Magnitudes {
  NumberBound low;  // zero or above
  std::optional<NumberBound> high;
};

// The multiples of 10^-places within the range; none: first > last. `otherwise`: the last one where there is no bound.
struct Units {
  Wide first, last;
};
Units units_of(const Magnitudes& of, int places, Wide otherwise) {
  const Decimal::Scaled low = of.low.value.scaled(places);
  Units out = {low.units + (!low.is_exact || of.low.exclusive ? 1 : 0), otherwise};
  // A lower bound above the usual limit raises the limit.
  if (out.first > out.last)
    out.last = wide_power_of_ten(std::min<int>(kWideDigits, int(wide_text(out.first).size()))) - 1;
  if (of.high) {
    const Decimal::Scaled high = of.high->value.scaled(places);
    const bool has_itself = !high.is_exact || !of.high->exclusive;
    if (!has_itself && high.units == 0) return {1, 0};
    out.last = std::min(out.last, high.units - (has_itself ? 0 : 1));
  }
  return out;
}

// Calls write(magnitudes, is_negative) for the part on either side of zero; zero is not negative.
template <typename Write>
NodeId both_signs(Graph& graph, const NumberBounds& bounds, Write&& write) {
  const auto& [min, max] = bounds;
  const Decimal zero;
  std::vector<NodeId> ways;
  if (!max || compare(max->value, zero) > 0 || (max->value.is_zero() && !max->exclusive)) {
    const bool is_above = min && compare(min->value, zero) >= 0;
    ways.push_back(write(Magnitudes{is_above ? *min : NumberBound{zero}, max}, false));
  }
  if (!min || compare(min->value, zero) < 0) {
    const bool is_below = max && compare(max->value, zero) < 0;
    Magnitudes of = {is_below ? NumberBound{max->value.negated(), max->exclusive} : NumberBound{zero, true},
                     std::nullopt};
    if (min) of.high = NumberBound{min->value.negated(), min->exclusive};
    ways.push_back(graph.text("-", write(of, true)));
  }
  return graph.any_of(std::move(ways));
}

Wide largest_integer(bool is_negative) { return is_negative ? Wide(1) << 63 : (Wide(1) << 64) - 1; }

// The bound itself is excluded. The next float64 becomes the bound, so that no number is rounded onto it.
NumberBound inclusive(const NumberBound& bound, double towards) {
  if (!bound.exclusive || bound.value.is_zero()) return bound;
  return {Decimal::of(std::nextafter(bound.value.value(), towards))};
}

NodeId magnitudes(Graph& graph, const Magnitudes& given, NodeId next) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  Magnitudes of = {inclusive(given.low, kInfinity), std::nullopt};
  if (given.high) of.high = inclusive(*given.high, 0);
  std::vector<NodeId> ways;
  int fewest_digits = 1;
  for (const auto& [most_digits, usual_places] : kPlaces) {
    int places = usual_places;
    for (const NumberBound* bound : {&given.low, given.high ? &*given.high : nullptr}) {
      if (bound == nullptr || bound->exclusive || bound->value.point() > most_digits) continue;
      if (bound->value.point() < fewest_digits && fewest_digits > 1) continue;
      places = std::max(places, int(std::min<int64_t>(bound->value.places(), kWideDigits - most_digits)));
    }
    const Wide limit = wide_power_of_ten(std::min(int(kDigits) + places, kWideDigits)) - 1;
    Units units = units_of(of, places, limit);
    units.first = std::max(units.first, fewest_digits == 1 ? 0 : wide_power_of_ten(fewest_digits - 1 + places));
    if (most_digits < int(kDigits)) units.last = std::min(units.last, wide_power_of_ten(most_digits + places) - 1);
    if (units.first <= units.last) ways.push_back(Multiples(graph, places, 1, next).between(units.first, units.last));
    fewest_digits = most_digits + 1;
  }
  return graph.any_of(std::move(ways));
}

}  // namespace

void NumberBounds::raise_min(const NumberBound& bound) {
  const int order = min ? compare(bound.value, min->value) : 1;
  if (order > 0 || (order == 0 && bound.exclusive)) min = bound;
}

void NumberBounds::lower_max(const NumberBound& bound) {
  const int order = max ? compare(bound.value, max->value) : -1;
  if (order < 0 || (order == 0 && bound.exclusive)) max = bound;
}

NodeId integer_within(Graph& graph, const NumberBounds& bounds, NodeId next) {
  return both_signs(graph, bounds, [&](const Magnitudes& of, bool is_negative) {
    const auto [first, last] = units_of(of, 0, largest_integer(is_negative));
    return first > last ? Graph::kNowhere : Multiples(graph, 0, 1, next).between(first, last);
  });
}

NodeId number_within(Graph& graph, const NumberBounds& bounds, NodeId next) {
  return both_signs(graph, bounds, [&](const Magnitudes& of, bool) { return magnitudes(graph, of, next); });
}

NodeId multiple_within(Graph& graph, const NumberBounds& bounds, const Decimal& step, bool integer,
                       const std::string& path, NodeId next) {
  constexpr int kMostPlaces = 15;
  constexpr uint64_t kMostEnumerated = 1024, kFewRests = 4096;
  const auto refuse = [&](const std::string& why) {
    throw Error(Code::kInvalidArgument, str(path, ": multipleOf ", step.text(), " ", why));
  };
  if (step.is_zero() || step.is_negative()) refuse("is not above zero");
  if (step.places() > kMostPlaces || step.point() > kMostPlaces) {
    refuse(str("has more than ", kMostPlaces, " digits on one side of the point, which is not supported"));
  }
  int places = int(step.places());
  uint64_t by = uint64_t(step.scaled(places).units);
  if (by > uint64_t(1) << 59) refuse("has too many digits");
  if (integer && places > 0) {
    by /= std::gcd(by, uint64_t(wide_power_of_ten(places)));
    places = 0;
  }
  return both_signs(graph, bounds, [&](const Magnitudes& of, bool is_negative) {
    const Wide limit = integer ? largest_integer(is_negative) : wide_power_of_ten(int(kDigits) + places) - 1;
    const auto [first, last] = units_of(of, places, limit);
    const Wide least = (first + by - 1) / by, most = last / by;  // multiples of `by`
    if (first > last || least > most) return Graph::kNowhere;
    if (by > kFewRests && most - least < kMostEnumerated) {
      std::vector<std::string> texts;
      for (Wide k = least; k <= most; ++k) {
        texts.push_back(Decimal::of(wide_text(k * by) + "e-" + std::to_string(places)).text());
      }
      return graph.choice(std::move(texts), next);
    }
    try {
      return Multiples(graph, places, by, next).between(first, last);
    } catch (const Multiples::TooMany&) {
      refuse("would take too many nodes between these bounds");
    }
    return Graph::kNowhere;
  });
}

}  // namespace oss::grammar
