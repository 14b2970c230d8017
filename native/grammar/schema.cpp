#include "native/grammar/schema.h"

#include <algorithm>
#include <array>
#include <bit>
#include <optional>

#include "native/base/error.h"
#include "native/base/str.h"
#include "native/grammar/formats.h"
#include "native/grammar/number_range.h"
#include "native/grammar/schema_merge.h"
#include "native/grammar/schema_overlap.h"

namespace oss::grammar {
namespace {

constexpr const char* kUnevaluated[] = {"unevaluatedProperties", "unevaluatedItems"};

constexpr std::array kTypes = {"object", "array", "string", "number", "integer", "boolean", "null"};

// The keywords beside a part of a schema.
Json without_parts(const Json& schema, std::string_view part) {
  return without(schema, {part, "$defs", "definitions", kUnevaluated[0], kUnevaluated[1]});
}

bool is_unlisted(const Json& schema) { return schema.find("enum") == nullptr && schema.find("const") == nullptr; }

// The types that a schema admits, in the order of kTypes.
std::vector<std::string> types_of(const Json& schema, const std::string& path) {
  std::vector<std::string> named;
  const Json* type = schema.find("type");
  if (type == nullptr) {
    for (const auto& [keyword, member] : *schema.object()) {
      const std::string_view of = type_of_keyword(keyword);
      if (!of.empty()) named.emplace_back(of);
      if (keyword == "format" && member.string() && format_pattern(*member.string())) named.emplace_back("string");
    }
    if (named.empty()) return {};
  } else if (type->string()) {
    named.push_back(*type->string());
  } else if (type->array()) {
    for (const Json& one : *type->array()) named.push_back(one.string() ? *one.string() : one.describe());
  } else {
    refuse_schema(path, str("\"type\": expected a text or a list of texts, found ", type->describe()));
  }
  for (const std::string& name : named) {
    if (std::find(kTypes.begin(), kTypes.end(), name) == kTypes.end()) {
      refuse_schema(path, str("\"type\" ", quote(name), " is none that JSON has"));
    }
  }
  std::vector<std::string> out;
  for (const char* name : kTypes) {
    const bool is_named = std::find(named.begin(), named.end(), name) != named.end();
    // Every integer is a number.
    const bool is_covered =
        std::string_view(name) == "integer" && std::find(named.begin(), named.end(), "number") != named.end();
    if (is_named && !is_covered) out.emplace_back(name);
  }
  return out;
}

bool has_type(const Json& value, const std::string& type) {
  if (type == "null") return value.is_null();
  if (type == "boolean") return value.boolean() != nullptr;
  if (type == "string") return value.string() != nullptr;
  if (type == "array") return value.array() != nullptr;
  if (type == "object") return value.object() != nullptr;
  if (value.number() == nullptr) return false;
  return type == "number" || value.number()->decimal().is_integer();
}

}  // namespace

NodeId SchemaCompiler::compile_object(NodeId next) {
  const Json object(Json::Object{{"type", Json(std::string("object"))}});
  const Json& root = document_.root();
  if (root.object() && root.find("type") && root.find("type")->string() && *root.find("type")->string() == "object") {
    return compile(next);
  }
  return compiled(merge_schemas(document_, root, object, "#"), next);
}

NodeId SchemaCompiler::compiled(const Json& root, NodeId next) {
  try {
    const NodeId start = value(root, "#", next);
    while (!open_.empty()) {
      const Open one = std::move(open_.back());
      open_.pop_back();
      graph_.define(one.rule, value(one.schema, one.path, Graph::kEndNode));
    }
    return start;
  } catch (const Regular::TooLarge&) {
    refuse_schema("#", "its patterns take too many states together");
  }
}

// Equal schemas share one rule, so that compiling a recursive schema ends.
RuleId SchemaCompiler::rule_of(const Json& schema, const std::string& path) {
  std::string text = compact(schema);
  graph_.spend(Work::kBytes, text.size());
  const auto [at, is_new] = rules_.try_emplace(std::move(text), 0);
  if (is_new) open_.push_back({at->second = graph_.add_rule(), schema, path});
  return at->second;
}

// Makes the text of a schema with many references only once.
RuleId SchemaCompiler::rule_of_target(const Json& target, const std::string& reference) {
  const auto known = rules_of_targets_.find(&target);
  return known != rules_of_targets_.end() ? known->second : rules_of_targets_[&target] = rule_of(target, reference);
}

NodeId SchemaCompiler::value(const Json& schema, const std::string& path, NodeId next) {
  graph_.spend(Work::kSchemas);
  if (++depth_ > kMaxDepth) refuse_schema(path, str("more than ", kMaxDepth, " schemas inside each other"));
  const NodeId start = value_of(schema, path, next);
  --depth_;
  return start;
}

NodeId SchemaCompiler::value_of(const Json& given, const std::string& path, NodeId next) {
  if (!given.boolean() && !given.object()) refuse_schema(path, str("expected a schema, found ", given.describe()));
  const std::optional<Json> respelled = given.object() ? in_one_spelling(given, path) : std::nullopt;
  const Json& schema = respelled ? *respelled : given;
  if (schema.boolean()) return *schema.boolean() ? json_.any_value(next) : Graph::kNowhere;
  if (const Json* reference = schema.find("$ref")) {
    if (!reference->string()) refuse_schema(path, "\"$ref\" is not a string");
    const Json rest = without_parts(schema, "$ref");
    const Json& target = document_.resolve(*reference->string(), path);
    if (!demands_anything(without(schema, {"$ref"}))) {
      return graph_.call(rule_of_target(target, *reference->string()), next);
    }
    return graph_.call(rule_of(merged(schema, rest, target, path), path), next);
  }
  if (const Json* all = schema.find("allOf")) {
    const Json rest = without_parts(schema, "allOf");
    if (all->array() && all->array()->size() == 1 && !demands_anything(without(schema, {"allOf"}))) {
      return value((*all->array())[0], path + "/allOf/0", next);
    }
    const Json whole(Json::Object{{"allOf", *all}});
    return graph_.call(rule_of(merged(schema, rest, whole, path), path), next);
  }
  if (schema.find("anyOf")) return branches(schema, "anyOf", path, next);
  if (schema.find("oneOf")) return branches(schema, "oneOf", path, next);
  if (!is_unlisted(schema)) return listed(schema, path, next);
  const std::vector<std::string> types = types_of(schema, path);
  if (types.empty() && schema.find("type") == nullptr) return json_.any_value(next);
  std::vector<NodeId> ways;
  for (const std::string& type : types) ways.push_back(of_type(schema, type, path, next));
  return graph_.any_of(std::move(ways));
}

// The joint demands of a schema and one of its parts. "unevaluated.." of the schema covers only members that none of
// its parts evaluates, and so stays with the whole.
Json SchemaCompiler::merged(const Json& schema, const Json& rest, const Json& part, const std::string& path) const {
  const Json both = merge_schemas(document_, rest, part, path);
  if (!both.object()) return both;
  Json::Object out = *both.object();
  for (const char* keyword : kUnevaluated) {
    if (const Json* of = schema.find(keyword)) {
      if (both.find(keyword))
        refuse_schema(path, str("two different ", quote(keyword), " for the same value are not supported"));
      out.emplace_back(keyword, *of);
    }
  }
  return Json(std::move(out));
}

NodeId SchemaCompiler::branches(const Json& schema, const std::string& keyword, const std::string& path, NodeId next) {
  const Json& list = *schema.find(keyword);
  if (!list.array() || list.array()->empty()) refuse_schema(path, str(quote(keyword), " is not an array of schemas"));
  if (keyword == "anyOf" && schema.find("oneOf")) refuse_schema(path, "\"anyOf\" beside \"oneOf\" is not supported");
  const Json::Array& all = *list.array();
  const Json rest = without_parts(schema, keyword);
  const bool has_rest = demands_anything(without(schema, {keyword}));
  if (keyword == "oneOf") {
    if (const auto overlap = first_overlap(document_, all)) {
      if (const auto values = values_of_one(document_, all)) {
        const Json listed(Json::Object{{"enum", Json(*values)}});
        return value(has_rest ? merged(schema, rest, listed, path) : listed, path, next);
      }
      refuse_schema(path, str("\"oneOf\": branches ", overlap->second, " and ", overlap->first,
                              " may have values in common, which is not supported; use \"anyOf\", or a property that "
                              "tells them apart"));
    }
  }
  std::vector<NodeId> ways;
  for (size_t i = 0; i < all.size(); ++i) {
    const std::string at = str(path, "/", keyword, "/", i);
    ways.push_back(has_rest ? value(merged(schema, rest, all[i], at), at, next) : value(all[i], at, next));
  }
  return graph_.any_of(std::move(ways));
}

// The values in "enum" and "const" that the other keywords admit.
std::vector<Json> SchemaCompiler::listed_values(const Json& schema, const std::string& path) {
  const Json *values = schema.find("enum"), *value = schema.find("const");
  if (values != nullptr && !values->array()) refuse_schema(path, "\"enum\" is not an array");
  const Json demands = without(schema, {"format"});
  const std::vector<std::string> types = types_of(demands, path);
  // Made once, because a schema may list thousands of values.
  const std::string constant = value != nullptr ? compact(*value) : "";
  std::optional<Regular::Id> language;
  const auto is_admitted = [&](const Json& one) {
    if (!one.string()) return fits(one, schema, path);
    if (!language) language = strings_.language(demands, path);
    return strings_.matches(*language, *one.string(), str("schema ", path));
  };
  std::vector<Json> out;
  const Json::Array single = value != nullptr ? Json::Array{*value} : Json::Array{};
  for (const Json& one : values != nullptr ? *values->array() : single) {
    const bool is_const = value == nullptr || compact(one) == constant;
    const bool is_typed =
        schema.find("type") == nullptr ||
        std::any_of(types.begin(), types.end(), [&](const std::string& type) { return has_type(one, type); });
    if (is_const && is_typed && is_admitted(one)) out.push_back(one);
  }
  return out;
}

// Whether a listed value that is not a string meets the keywords of its type. Keywords of objects and arrays are
// refused.
bool SchemaCompiler::fits(const Json& value, const Json& schema, const std::string& path) {
  for (const auto& [keyword, member] : *schema.object()) {
    const std::string_view type = type_of_keyword(keyword);
    const bool is_inner = (type == "object" && value.object()) || (type == "array" && value.array());
    if (is_inner) refuse_schema(path, str(quote(keyword), " beside \"enum\" or \"const\" is not supported"));
  }
  if (!value.number()) return true;
  const Decimal here = value.number()->decimal();
  const auto [min, max] = bounds_of(schema, path);
  const auto is_within = [&](const std::optional<NumberBound>& bound, int sign) {
    const int order = bound ? compare(here, bound->value) * sign : 1;
    return order > 0 || (order == 0 && !bound->exclusive);
  };
  if (schema.find("multipleOf")) {
    Graph graph;
    const NodeId one = multiple_within(graph, {NumberBound{here}, NumberBound{here}}, step_of(schema, path), false,
                                       str("schema ", path), Graph::kEndNode);
    if (one == Graph::kNowhere) return false;
  }
  return is_within(min, 1) && is_within(max, -1);
}

NodeId SchemaCompiler::listed(const Json& schema, const std::string& path, NodeId next) {
  std::vector<std::string> texts;
  for (const Json& value : listed_values(schema, path)) texts.push_back(compact(value));
  return graph_.choice(std::move(texts), next);
}

NodeId SchemaCompiler::of_type(const Json& schema, const std::string& type, const std::string& path, NodeId next) {
  if (type == "object") return object(schema, path, next);
  if (type == "array") return array(schema, path, next);
  if (type == "string") return strings_.value(schema, path, next);
  if (type == "boolean") return graph_.any_of({graph_.text("true", next), graph_.text("false", next)});
  if (type == "null") return graph_.text("null", next);
  return number(schema, type == "integer", path, next);
}

NodeId SchemaCompiler::array(const Json& schema, const std::string& path, NodeId next) {
  const uint32_t min = count_of(schema, "minItems", 0, path), max = count_of(schema, "maxItems", kUnlimited, path);
  const Json *leading = schema.find("prefixItems"), *items = schema.find("items");
  if (leading != nullptr && !leading->array()) refuse_schema(path, "\"prefixItems\" is not an array");
  if (const Json* unique = schema.find("uniqueItems"); unique && unique->boolean() && max > 1) {
    return distinct(schema, min, max, path, next);
  }
  if (leading == nullptr && items == nullptr && min == 0 && max == kUnlimited) return json_.any_array(next);
  const auto rule = [&](const Json& of, const std::string& at) {
    return graph_.add_rule(value(of, at, Graph::kEndNode));
  };
  std::vector<RuleId> first;
  if (leading != nullptr) {
    for (size_t i = 0; i < leading->array()->size(); ++i) {
      first.push_back(rule((*leading->array())[i], str(path, "/prefixItems/", i)));
    }
  }
  std::optional<RuleId> rest;
  if (items == nullptr) {
    rest = graph_.add_rule(json_.any_value(Graph::kEndNode));
  } else if (!(items->boolean() && !*items->boolean())) {
    rest = rule(*items, path + "/items");
  }
  return json_.array(first, rest, min, max, next);
}

// The values of a schema with few values, as texts.
std::optional<std::vector<std::string>> SchemaCompiler::few_values(const Json& items, const std::string& path) {
  if (!items.object()) return std::nullopt;
  const Json schema = merge_schemas(document_, items, Json(Json::Object()), path);  // without references
  if (!schema.object()) return std::nullopt;
  if (schema.find("$ref") || schema.find("allOf") || schema.find("anyOf") || schema.find("oneOf")) return std::nullopt;
  std::vector<std::string> out;
  if (!is_unlisted(schema)) {
    for (const Json& value : listed_values(schema, path)) {
      if (value.object() || value.array()) return std::nullopt;  // equal ones may have several texts
      out.push_back(compact(value));
    }
  } else {
    for (const std::string& type : types_of(schema, path)) {
      if (type != "boolean" && type != "null") return std::nullopt;
      for (const char* text : {"true", "false", "null"}) {
        if ((type == "null") == (std::string_view(text) == "null")) out.emplace_back(text);
      }
    }
    if (out.empty()) return std::nullopt;
  }
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

// Items of few values, none of them twice: a node for each set of values used so far.
NodeId SchemaCompiler::distinct(const Json& schema, uint32_t min, uint32_t max, const std::string& path, NodeId next) {
  constexpr size_t kMostValues = 10;
  const Json* items = schema.find("items");
  const auto values = items != nullptr ? few_values(*items, path + "/items") : std::nullopt;
  if (!values || values->size() > kMostValues || schema.find("prefixItems")) {
    refuse_schema(path, str("the keyword \"uniqueItems\" is not supported but where \"items\" lists ", kMostValues,
                            " values at most"));
  }
  std::vector<RuleId> rules;
  for (const std::string& value : *values) rules.push_back(graph_.add_rule(graph_.text(value, Graph::kEndNode)));
  const NodeId close = json_.blanks(graph_.text("]", next));
  std::vector<NodeId> after(size_t(1) << rules.size());
  for (size_t used = after.size(); used-- > 0;) {
    const auto count = uint32_t(std::popcount(used));
    std::vector<NodeId> more;
    for (size_t i = 0; i < rules.size() && count < max; ++i) {
      if ((used >> i & 1) == 0) more.push_back(graph_.call(rules[i], after[used | size_t(1) << i]));
    }
    NodeId item = graph_.any_of(std::move(more));
    if (item != Graph::kNowhere) item = json_.blanks(item);
    if (count > 0 && item != Graph::kNowhere) item = graph_.text(",", item);
    after[used] = graph_.any_of({item, count >= min ? close : Graph::kNowhere});
  }
  return graph_.text("[", after[0]);
}

}  // namespace oss::grammar
