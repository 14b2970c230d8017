// JSON numbers within bounds, as digits. Bounds are exact, with any number of digits. The numbers have no exponent, and
// negative zero is excluded.
#pragma once
#include <optional>
#include <string>

#include "native/base/decimal.h"
#include "native/grammar/graph.h"

namespace oss::grammar {

struct NumberBound {
  Decimal value;
  bool exclusive = false;
};
struct NumberBounds {
  std::optional<NumberBound> min, max;

  // Keep the tighter of the current bound and this one.
  void raise_min(const NumberBound& bound);
  void lower_max(const NumberBound& bound);
};

// Integers; a side without a bound has the limit of 64-bit integers, signed or not.
NodeId integer_within(Graph& graph, const NumberBounds& bounds, NodeId next);
// Decimal fractions. The fewer digits precede the point, the more may follow it (number_range.cpp). Fractions that
// float64 would round onto an exclusive bound are excluded.
NodeId number_within(Graph& graph, const NumberBounds& bounds, NodeId next);
// Multiples of `step`; only integers where `integer`. Throws kInvalidArgument, with `path` first, when the step is not
// above zero or when the multiples would take too many nodes.
NodeId multiple_within(Graph& graph, const NumberBounds& bounds, const Decimal& step, bool integer,
                       const std::string& path, NodeId next);

}  // namespace oss::grammar
