// JSON numbers within bounds, as digits.
#pragma once
#include <optional>
#include <string>

#include "native/grammar/graph.h"

namespace oss::grammar {

struct NumberBound {
  double value;
  bool exclusive = false;
};
struct NumberBounds {
  std::optional<NumberBound> min, max;
};

// Integers of at most kDigits digits, without "-0". `path` and keywords are for messages.
NodeId integer_within(Graph& graph, const NumberBounds& bounds, NodeId next);
// Decimal fractions of at most kDigits digits in all, integers beyond 999,999,999; without exponent. Throws
// kInvalidArgument, beginning with `path`, for a bound that takes more digits than those.
NodeId number_within(Graph& graph, const NumberBounds& bounds, const std::string& path, NodeId next);
// Integers that `step` divides. Throws kInvalidArgument, beginning with `path`, where that would take too many nodes.
NodeId multiple_within(Graph& graph, const NumberBounds& bounds, double step, const std::string& path, NodeId next);

}  // namespace oss::grammar
