// The numbers of a schema: their bounds and their step.
#include "native/base/str.h"
#include "native/grammar/number_range.h"
#include "native/grammar/schema.h"

namespace oss::grammar {

NumberBounds SchemaCompiler::bounds_of(const Json& schema, const std::string& path) const {
  NumberBounds bounds;
  const auto read = [&](const char* keyword, bool exclusive) -> std::optional<NumberBound> {
    const Json* limit = schema.find(keyword);
    if (limit == nullptr) return std::nullopt;
    if (!limit->number()) refuse_schema(path, str(quote(keyword), ": expected a number, found ", limit->describe()));
    return NumberBound{limit->number()->decimal(), exclusive};
  };
  for (const auto& min : {read("minimum", false), read("exclusiveMinimum", true)}) {
    if (min) bounds.raise_min(*min);
  }
  for (const auto& max : {read("maximum", false), read("exclusiveMaximum", true)}) {
    if (max) bounds.lower_max(*max);
  }
  return bounds;
}

Decimal SchemaCompiler::step_of(const Json& schema, const std::string& path) const {
  const Json& step = *schema.find("multipleOf");
  if (!step.number()) refuse_schema(path, "\"multipleOf\" is not a number");
  return step.number()->decimal();
}

// Equal numbers share one rule, because each takes about a hundred nodes.
NodeId SchemaCompiler::number(const Json& schema, bool integer, const std::string& path, NodeId next) {
  const NumberBounds bounds = bounds_of(schema, path);
  const bool has_step = schema.find("multipleOf") != nullptr;
  if (!bounds.min && !bounds.max && !has_step) return integer ? json_.any_integer(next) : json_.any_number(next);
  std::string key = integer ? "integer" : "number";
  for (const char* keyword : {"minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum", "multipleOf"}) {
    if (const Json* value = schema.find(keyword)) key += str(' ', keyword, ' ', compact(*value));
  }
  const auto [at, is_new] = numbers_.try_emplace(key, 0);
  if (is_new) {
    constexpr NodeId kEnd = Graph::kEndNode;
    const NodeId start =
        has_step  ? multiple_within(graph_, bounds, step_of(schema, path), integer, str("schema ", path), kEnd)
        : integer ? integer_within(graph_, bounds, kEnd)
                  : number_within(graph_, bounds, kEnd);
    at->second = graph_.add_rule(start);
  }
  return graph_.call(at->second, next);
}

}  // namespace oss::grammar
