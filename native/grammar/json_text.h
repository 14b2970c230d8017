// The parts of JSON text that schemas are made of (RFC 8259). Parts that a model with random weights could repeat
// forever are bounded:
//
//   blanks    after { [ , : and before } ]: nothing, one space, or a line break and up to kIndent spaces or 8 tabs (after
//             a colon nothing or one space)
//   strings   any length; well-formed UTF-8; every escape, and \u surrogates in pairs only
//   integers  64 bits, signed or not
//   numbers   kDigits digits before the point, as many after it, two in the exponent
#pragma once
#include <optional>

#include "native/base/json.h"
#include "native/grammar/graph.h"

namespace oss::grammar {

constexpr uint32_t kIndent = 32;
constexpr uint32_t kDigits = 20;  // enough for 64 bits, and for the fractions of float64 from 0.001 on

// JSON text without blanks; strings with only the necessary escapes.
std::string compact(const Json& value);
// A JSON string of this text, in quotes.
std::string json_string(std::string_view text);

class JsonText {
 public:
  explicit JsonText(Graph& graph);

  NodeId blanks(NodeId next) { return graph_.call(blanks_, next); }
  NodeId colon(NodeId next) { return graph_.text(":", graph_.optional(graph_.text(" ", next), next)); }
  NodeId any_value(NodeId next) { return graph_.call(value_, next); }
  NodeId any_object(NodeId next) { return graph_.call(object_, next); }
  NodeId any_array(NodeId next) { return graph_.call(array_, next); }
  NodeId any_string(NodeId next) { return graph_.call(string_, next); }
  NodeId any_number(NodeId next) { return graph_.call(number_, next); }
  NodeId any_integer(NodeId next) { return graph_.call(integer_, next); }
  // A string of min to max code points.
  NodeId string_of_length(uint32_t min, uint32_t max, NodeId next);
  // A property name other than these, spelled without escapes.
  NodeId other_name(const std::vector<std::string>& names, NodeId next);
  // An array of min to max items, with brackets; `item` is a rule.
  NodeId array(const std::vector<RuleId>& first, std::optional<RuleId> item, uint32_t min, uint32_t max, NodeId next);
  // An object with any number of members of one kind: `member` is the rule of name, colon and value.
  NodeId object_of(RuleId member, NodeId next);

  // See the constructor of Machine.
  NodeId plain_node() const { return plain_node_; }
  RuleId plain_rule() const { return character_; }

 private:
  std::vector<Edge> string_edges(NodeId next);

  Graph& graph_;
  RuleId blanks_, character_, string_, number_, integer_, array_, object_, value_;
  NodeId plain_node_;
};

}  // namespace oss::grammar
