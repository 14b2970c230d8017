#include "native/grammar/json_text.h"

#include <algorithm>

#include "native/base/str.h"
#include "native/grammar/characters.h"
#include "native/grammar/number_range.h"

namespace oss::grammar {
namespace {

NodeId hex_digits(Graph& graph, int count, NodeId next) {
  for (int i = 0; i < count; ++i) next = graph.ranges({{'0', '9', next}, {'A', 'F', next}, {'a', 'f', next}});
  return next;
}

// The digits after \u: a code unit that is not a surrogate, or a pair of surrogates.
NodeId unicode_escape(Graph& graph, NodeId next) {
  const NodeId three = hex_digits(graph, 3, next), two = hex_digits(graph, 2, next);
  const NodeId low_two = graph.ranges({{'C', 'F', two}, {'c', 'f', two}});
  const NodeId low = graph.text("\\u", graph.ranges({{'D', 'D', low_two}, {'d', 'd', low_two}}));
  const NodeId before_low = hex_digits(graph, 2, low);
  const NodeId after_d =
      graph.ranges({{'0', '7', two}, {'8', '9', before_low}, {'A', 'B', before_low}, {'a', 'b', before_low}});
  return graph.ranges({{'0', '9', three},
                       {'A', 'C', three},
                       {'a', 'c', three},
                       {'E', 'F', three},
                       {'e', 'f', three},
                       {'D', 'D', after_d},
                       {'d', 'd', after_d}});
}

}  // namespace

std::string json_string(std::string_view text) {
  constexpr char kHex[] = "0123456789abcdef";
  std::string out = "\"";
  for (const char c : text) {
    constexpr std::string_view kEscaped = "\"\\\b\f\n\r\t", kLetters = "\"\\bfnrt";
    if (const size_t at = kEscaped.find(c); at != kEscaped.npos) {
      out += {'\\', kLetters[at]};
    } else if (uint8_t(c) < 0x20) {
      out += {'\\', 'u', '0', '0', kHex[uint8_t(c) >> 4], kHex[c & 15]};
    } else {
      out += c;
    }
  }
  return out + '"';
}

std::string compact(const Json& value) {
  if (value.is_null()) return "null";
  if (value.boolean()) return *value.boolean() ? "true" : "false";
  if (value.number()) return value.number()->decimal().text();
  if (value.string()) return json_string(*value.string());
  std::string out;
  if (value.array()) {
    for (const Json& item : *value.array()) out += (out.empty() ? "" : ",") + compact(item);
    return "[" + out + "]";
  }
  for (const auto& [key, member] : *value.object()) {
    out += (out.empty() ? "" : ",") + json_string(key) + ":" + compact(member);
  }
  return "{" + out + "}";
}

JsonText::JsonText(Graph& graph) : graph_(graph) {
  constexpr NodeId kEnd = Graph::kEndNode;
  const RuleId space = graph.add_rule(graph.text(" ", kEnd)), tab = graph.add_rule(graph.text("\t", kEnd));
  const NodeId indent = graph.any_of({graph.repeat(space, 0, kIndent, kEnd), graph.repeat(tab, 1, 8, kEnd)});
  blanks_ = graph.add_rule(graph.any_of({kEnd, graph.text(" ", kEnd), graph.text("\n", indent)}));

  character_ = graph.add_rule(graph.ranges(string_edges(kEnd)));
  plain_node_ = graph.placeholder();
  std::vector<Edge> edges = string_edges(plain_node_);
  edges.push_back({'"', '"', kEnd});
  graph.fill(plain_node_, std::move(edges), {});
  string_ = graph.add_rule(graph.text("\"", plain_node_));

  const RuleId digit = graph.add_rule(graph.range('0', '9', kEnd));
  const NodeId exponent_digits = graph.repeat(digit, 1, 2, kEnd);
  const NodeId sign = graph.ranges({{'+', '+', exponent_digits}, {'-', '-', exponent_digits}});
  const NodeId signed_exponent = graph.optional(sign, exponent_digits);
  const NodeId exponent =
      graph.optional(graph.ranges({{'E', 'E', signed_exponent}, {'e', 'e', signed_exponent}}), kEnd);
  const NodeId fraction = graph.optional(graph.text(".", graph.repeat(digit, 1, kDigits, exponent)), exponent);
  const NodeId integer =
      graph.ranges({{'0', '0', fraction}, {'1', '9', graph.repeat(digit, 0, kDigits - 1, fraction)}});
  number_ = graph.add_rule(graph.optional(graph.text("-", integer), integer));
  integer_ = graph.add_rule(integer_within(graph, {}, kEnd));

  array_ = graph.add_rule();
  object_ = graph.add_rule();
  value_ = graph.add_rule(graph.any_of({graph.call(object_, kEnd), graph.call(array_, kEnd), graph.call(string_, kEnd),
                                        graph.call(number_, kEnd), graph.text("true", kEnd), graph.text("false", kEnd),
                                        graph.text("null", kEnd)}));
  graph.define(array_, array({}, value_, 0, kUnlimited, kEnd));
  graph.define(object_, object_of(graph.add_rule(any_string(colon(any_value(kEnd)))), kEnd));
}

// One character: literal or escaped.
std::vector<Edge> JsonText::string_edges(NodeId next) {
  const CodePointSet plain = normalized({{0x20, '"' - 1}, {'"' + 1, '\\' - 1}, {'\\' + 1, 0x10FFFF}});
  std::vector<Edge> edges = character_edges(graph_, plain, Spelling::kPlain, next);
  std::vector<Edge> escapes;
  for (const char c : std::string_view("\"\\/bfnrt")) escapes.push_back({uint8_t(c), uint8_t(c), next});
  escapes.push_back({'u', 'u', unicode_escape(graph_, next)});
  edges.push_back({'\\', '\\', graph_.ranges(std::move(escapes))});
  return edges;
}

NodeId JsonText::string_of_length(uint32_t min, uint32_t max, NodeId next) {
  if (min == 0 && max == kUnlimited) return any_string(next);
  return graph_.text("\"", graph_.repeat(character_, min, max, graph_.text("\"", next)));
}

// A trie of the names by character. A text that leaves it is none of the names. Escapes are excluded, because they
// could spell one of the names in another way.
NodeId JsonText::other_name(const std::vector<std::string>& names, NodeId next) {
  const NodeId elsewhere = graph_.placeholder();
  const CodePointSet plain = normalized({{0x20, '"' - 1}, {'"' + 1, '\\' - 1}, {'\\' + 1, 0x10FFFF}});
  std::vector<Edge> edges = character_edges(graph_, plain, Spelling::kPlain, elsewhere);
  edges.push_back({'"', '"', next});
  graph_.fill(elsewhere, std::move(edges), {});

  struct Step {
    std::vector<std::pair<uint32_t, size_t>> children;  // by code point
    bool is_name = false;
  };
  std::vector<Step> trie(1);
  for (const std::string& name : names) {
    size_t at = 0;
    for (size_t i = 0; i < name.size();) {
      // Names are well-formed UTF-8, because the JSON reader made them.
      const uint8_t lead = uint8_t(name[i]);
      const size_t length = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
      uint32_t code = length == 1 ? lead : lead & (0x7Fu >> length);
      for (size_t k = 1; k < length; ++k) code = code << 6 | (uint8_t(name[i + k]) & 0x3Fu);
      i += length;
      auto& children = trie[at].children;
      const auto known = std::find_if(children.begin(), children.end(), [&](const auto& c) { return c.first == code; });
      if (known != children.end()) {
        at = known->second;
      } else {
        const size_t made = trie.size();
        children.push_back({code, made});
        trie.emplace_back();
        at = made;
      }
    }
    trie[at].is_name = true;
  }
  std::vector<NodeId> nodes(trie.size());
  for (size_t i = trie.size(); i-- > 0;) {  // children were made after their parents
    CodePointSet named = {{0, 0x1F}, {'"', '"'}, {'\\', '\\'}};
    std::vector<NodeId> ways;
    for (const auto& [code, child] : trie[i].children) {
      named.push_back({code, code});
      // A name with a character that needs an escape cannot be spelled here anyway.
      if (code >= 0x20 && code != '"' && code != '\\') {
        ways.push_back(character(graph_, {{code, code}}, Spelling::kPlain, nodes[child]));
      }
    }
    std::vector<Edge> others =
        character_edges(graph_, complement_of(normalized(std::move(named))), Spelling::kPlain, elsewhere);
    if (!trie[i].is_name) others.push_back({'"', '"', next});
    ways.push_back(graph_.ranges(std::move(others)));
    nodes[i] = graph_.any_of(std::move(ways));
  }
  return graph_.text("\"", nodes[0]);
}

NodeId JsonText::array(const std::vector<RuleId>& first, std::optional<RuleId> item, uint32_t min, uint32_t max,
                       NodeId next) {
  const NodeId close = blanks(graph_.text("]", next));
  const uint32_t most = item ? max : std::min(max, uint32_t(first.size()));
  if (min > most) return Graph::kNowhere;
  if (most == 0) return graph_.text("[", close);
  const uint32_t leading = std::min(uint32_t(first.size()), most);
  // The text after the leading items: all items but the very first follow a comma.
  NodeId after = close;
  if (item && most > leading) {
    const uint32_t behind = std::max(leading, 1u);
    const RuleId follower = graph_.add_rule(graph_.text(",", blanks(graph_.call(*item, Graph::kEndNode))));
    const uint32_t least = min > behind ? min - behind : 0;
    after = graph_.repeat(follower, least, most == kUnlimited ? kUnlimited : most - behind, close);
  }
  if (leading == 0) {
    const NodeId items = graph_.call(*item, after);
    return graph_.text("[", min == 0 ? graph_.any_of({blanks(items), close}) : blanks(items));
  }
  for (uint32_t i = leading; i-- > 0;) {
    NodeId one = graph_.call(first[i], after);
    if (i > 0) one = graph_.text(",", blanks(one));
    if (i == 0) one = blanks(one);
    after = min <= i ? graph_.any_of({one, close}) : one;
  }
  return graph_.text("[", after);
}

NodeId JsonText::object_of(RuleId member, NodeId next) {
  const NodeId close = blanks(graph_.text("}", next));
  const RuleId follower = graph_.add_rule(graph_.text(",", blanks(graph_.call(member, Graph::kEndNode))));
  const NodeId members = graph_.call(member, graph_.repeat(follower, 0, kUnlimited, close));
  return graph_.text("{", graph_.any_of({blanks(members), close}));
}

}  // namespace oss::grammar
