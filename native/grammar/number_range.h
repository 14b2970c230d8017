// JSON numbers within bounds, as digits. Bounds are exact, however many digits they have; what is written never has an
// exponent, and negative zero is not written.
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

  // The tighter of what is there and this.
  void raise_min(const NumberBound& bound);
  void lower_max(const NumberBound& bound);
};

// Integers; where a side has no bound, those of 64 bits, signed or not.
NodeId integer_within(Graph& graph, const NumberBounds& bounds, NodeId next);
// Decimal fractions; the fewer digits stand before the point the more may follow it (number_range.cpp). One that
// float64 would round onto an exclusive bound is not written.
NodeId number_within(Graph& graph, const NumberBounds& bounds, NodeId next);
// Numbers that `step` divides; integers alone where `integer`. Throws kInvalidArgument, beginning with `path`, for a
// step that is not above zero, or where that would take too many nodes.
NodeId multiple_within(Graph& graph, const NumberBounds& bounds, const Decimal& step, bool integer,
                       const std::string& path, NodeId next);

}  // namespace oss::grammar
