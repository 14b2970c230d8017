#include "native/grammar/string_schema.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "native/base/str.h"
#include "native/grammar/formats.h"
#include "native/grammar/regex.h"
#include "native/grammar/schema_keywords.h"

namespace oss::grammar {
namespace {

// A pattern is stricter than a format, which is an annotation beside it. The SDKs write both.
struct Demands {
  std::vector<std::string> patterns;
  std::optional<std::string_view> format;
  uint32_t min, max;

  bool has_length() const { return min > 0 || max < kUnlimited; }
};

Demands demands_of(const Json& schema, const std::string& path) {
  Demands out;
  out.min = count_of(schema, "minLength", 0, path);
  out.max = count_of(schema, "maxLength", kUnlimited, path);
  if (const Json* pattern = schema.find("pattern")) {
    if (!pattern->string()) refuse_schema(path, "\"pattern\" is not a string");
    out.patterns.push_back(*pattern->string());
  }
  if (const Json* more = schema.find(kFurtherPatterns); more && more->array()) {
    for (const Json& pattern : *more->array()) {
      if (!pattern.string()) refuse_schema(path, "\"pattern\" is not a string");
      out.patterns.push_back(*pattern.string());
    }
  }
  if (const Json* format = schema.find("format")) {
    if (!format->string()) refuse_schema(path, "\"format\" is not a string");
    if (out.patterns.empty()) out.format = format_pattern(*format->string());
  }
  return out;
}

std::string name_of_pattern(const std::string& path) { return str("schema ", path, ": \"pattern\""); }

// ^[..]{n,m}$: its length is a count, so that no automaton needs to count.
const RegexTree* only_counted_set(const RegexTree& whole) {
  if (whole.parts.size() != 1 || whole.parts[0].parts.size() != 3) return nullptr;
  const std::vector<RegexTree>& parts = whole.parts[0].parts;
  const bool is_one = parts[0].kind == RegexTree::kBegin && parts[1].kind == RegexTree::kCounted &&
                      parts[1].parts[0].kind == RegexTree::kCharacters && parts[2].kind == RegexTree::kEnd;
  return is_one ? &parts[1] : nullptr;
}

}  // namespace

uint32_t count_of(const Json& schema, const char* keyword, uint32_t otherwise, const std::string& path) {
  const Json* value = schema.find(keyword);
  if (value == nullptr) return otherwise;
  const Json::Number* number = value->number();
  if (number == nullptr || !number->decimal().is_integer() || number->value < 0 || number->value > 1e9) {
    refuse_schema(path, str(quote(keyword), ": expected an integer in [0, 1e9], found ", value->describe()));
  }
  return uint32_t(number->value);
}

NodeId StringSchemas::value(const Json& schema, const std::string& path, NodeId next) {
  const Demands demands = demands_of(schema, path);
  const auto& [patterns, format, min, max] = demands;
  if (patterns.empty() && !format) return json_.string_of_length(min, max, next);
  if (patterns.size() > 1 || demands.has_length()) return with_length(schema, path, next);
  const NodeId close = graph_.text("\"", next);
  if (format) {
    return graph_.text("\"",
                       regex(graph_, regular_, *format, Anchoring::kWhole, Spelling::kJsonString, "format", close));
  }
  return graph_.text("\"", regex(graph_, regular_, patterns[0], Anchoring::kSearch, Spelling::kJsonString,
                                 name_of_pattern(path), close));
}

// Several demands at once. An automaton counts characters in its states. If a maximum needs too many states, a lower
// maximum replaces it, so that every text stays valid.
NodeId StringSchemas::with_length(const Json& schema, const std::string& path, NodeId next) {
  const Demands demands = demands_of(schema, path);
  const std::string name = name_of_pattern(path);
  if (demands.patterns.size() == 1) {
    const RegexTree tree = parse_regex(demands.patterns[0], name);
    if (const RegexTree* counted = only_counted_set(tree)) {
      const RuleId one =
          graph_.add_rule(character(graph_, counted->parts[0].characters, Spelling::kJsonString, Graph::kEndNode));
      const uint32_t min = std::max(demands.min, counted->min), max = std::min(demands.max, counted->max);
      return graph_.text("\"", graph_.repeat(one, min, max, graph_.text("\"", next)));
    }
  }
  const Regular::Id all = language(without(schema, {"minLength", "maxLength"}), path);
  const auto within = [&](uint32_t max) { return regular_.both({all, regular_.any_of_length(demands.min, max)}); };
  try {
    uint32_t max = demands.max;
    if (max != kUnlimited && !regular_.fits(within(max))) {
      max = std::min<uint32_t>(max, uint32_t(Regular::kMostStates / (regular_.num_states(all) + 1)));
    }
    const Regular::Id language = within(max);
    const NodeId close = graph_.text("\"", next);
    return graph_.text("\"", regular_.emit(language, Spelling::kJsonString, close));
  } catch (const Regular::TooLarge&) {
    refuse_schema(path, "\"pattern\" or \"format\" beside other demands takes too many states");
  }
}

Regular::Id StringSchemas::language(const Json& schema, const std::string& path) {
  const Demands demands = demands_of(schema, path);
  std::vector<Regular::Id> all;
  for (const std::string& pattern : demands.patterns) {
    all.push_back(regex_language(regular_, pattern, Anchoring::kSearch, name_of_pattern(path)));
  }
  if (demands.format) all.push_back(regex_language(regular_, *demands.format, Anchoring::kWhole, "format"));
  if (demands.has_length()) all.push_back(regular_.any_of_length(demands.min, demands.max));
  return regular_.both(std::move(all));
}

NodeId StringSchemas::of_language(Regular::Id language, const std::string& name, NodeId next) {
  const NodeId close = graph_.text("\"", next);
  return graph_.text("\"", emit_language(regular_, language, Spelling::kJsonString, name, close));
}

bool StringSchemas::matches(Regular::Id language, const std::string& text, const std::string& name) {
  try {
    return regular_.matches(language, text);
  } catch (const Regular::TooLarge&) {
    refuse_schema(name, "a pattern takes too many states");
  }
}

}  // namespace oss::grammar
