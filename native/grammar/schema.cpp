#include "native/grammar/schema.h"

#include <algorithm>
#include <array>
#include <optional>

#include "native/base/error.h"
#include "native/base/str.h"
#include "native/grammar/number_range.h"
#include "native/grammar/regex.h"

namespace oss::grammar {
namespace {

constexpr std::array kTypes = {"object", "array", "string", "number", "integer", "boolean", "null"};

// Which type a keyword speaks of; nothing: of any.
struct Keyword {
  std::string_view name, type;
};
constexpr Keyword kKeywords[] = {
    {"type", ""},           {"enum", ""},
    {"const", ""},          {"anyOf", ""},
    {"oneOf", ""},          {"allOf", ""},
    {"$ref", ""},           {"nullable", ""},
    {"properties", "object"},       {"required", "object"},
    {"additionalProperties", "object"}, {"items", "array"},
    {"prefixItems", "array"},       {"minItems", "array"},
    {"maxItems", "array"},          {"minLength", "string"},
    {"maxLength", "string"},        {"pattern", "string"},
    {"format", "string"},           {"minimum", "number"},
    {"maximum", "number"},          {"exclusiveMinimum", "number"},
    {"exclusiveMaximum", "number"}, {"multipleOf", "number"},
};

#define OSS_DATE                                                                                             \
  "(\\d{4}-((0[13578]|1[02])-(0[1-9]|[12]\\d|3[01])|(0[469]|11)-(0[1-9]|[12]\\d|30)|02-(0[1-9]|1\\d|2[0-8]))|" \
  "(\\d\\d(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)-02-29)"
#define OSS_TIME "([01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(\\.\\d{1,6})?(Z|[+-]([01]\\d|2[0-3]):[0-5]\\d)"
#define OSS_LABEL "[A-Za-z0-9]([A-Za-z0-9-]{0,30}[A-Za-z0-9])?"
#define OSS_BYTE "(25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)"
#define OSS_PATH "[A-Za-z0-9._~!$&'()*+,;=:@-]"

struct Format {
  std::string_view name, pattern;
};
constexpr Format kFormats[] = {
    {"date", OSS_DATE},
    {"time", OSS_TIME},
    {"date-time", OSS_DATE "T" OSS_TIME},
    {"email", "[A-Za-z0-9_+-]{1,32}(\\.[A-Za-z0-9_+-]{1,32}){0,3}@" OSS_LABEL "(\\." OSS_LABEL "){1,4}"},
    {"uuid", "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"},
    {"ipv4", OSS_BYTE "(\\." OSS_BYTE "){3}"},
    {"uri", "(https?|ftp)://" OSS_LABEL "(\\." OSS_LABEL "){0,5}(:[1-9]\\d{0,3})?(/" OSS_PATH "*)*(\\?(" OSS_PATH
            "|[/?])*)?(#(" OSS_PATH "|[/?])*)?"},
};

bool is_true(const Json* value) { return value != nullptr && value->boolean() && *value->boolean(); }

bool is_unlisted(const Json& schema) { return schema.find("enum") == nullptr && schema.find("const") == nullptr; }

uint32_t count_of(const Json& schema, const char* keyword, uint32_t otherwise, const std::string& path) {
  const Json* value = schema.find(keyword);
  if (value == nullptr) return otherwise;
  if (!value->number() || value->number()->value < 0 || value->number()->value > 1e9 ||
      value->number()->value != double(uint32_t(value->number()->value))) {
    refuse_schema(path, str(quote(keyword), ": expected an integer in [0, 1e9], found ", value->describe()));
  }
  return uint32_t(value->number()->value);
}

// The types that a schema admits, in the order of kTypes.
std::vector<std::string> types_of(const Json& schema, const std::string& path) {
  std::vector<std::string> named;
  const Json* type = schema.find("type");
  if (type == nullptr) {
    for (const auto& [keyword, member] : *schema.object()) {
      for (const Keyword& known : kKeywords) {
        if (known.name == keyword && !known.type.empty()) named.emplace_back(known.type);
      }
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
  if (is_true(schema.find("nullable"))) named.emplace_back("null");
  std::vector<std::string> out;
  for (const char* name : kTypes) {
    const bool is_named = std::find(named.begin(), named.end(), name) != named.end();
    // Every integer is a number.
    const bool is_covered = std::string_view(name) == "integer" &&
                            std::find(named.begin(), named.end(), "number") != named.end();
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
  return type == "number" || value.number()->value == double(int64_t(value.number()->value));
}

void check_keywords(const Json& schema, const std::string& path) {
  for (const auto& [keyword, member] : *schema.object()) {
    const bool is_known = std::any_of(std::begin(kKeywords), std::end(kKeywords),
                                      [&](const Keyword& known) { return known.name == keyword; });
    if (!is_known && !is_annotation(keyword)) refuse_schema(path, str("the keyword ", quote(keyword), " is not supported"));
  }
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
  const NodeId start = value(root, "#", next);
  while (!open_.empty()) {
    const Open one = std::move(open_.back());
    open_.pop_back();
    graph_.define(one.rule, value(one.schema, one.path, Graph::kEndNode));
  }
  return start;
}

// Equal schemas are one rule, so that a schema which leads to itself ends.
RuleId SchemaCompiler::rule_of(const Json& schema, const std::string& path) {
  std::string text = compact(schema);
  graph_.spend(Work::kBytes, text.size());
  const auto [at, is_new] = rules_.try_emplace(std::move(text), 0);
  if (is_new) open_.push_back({at->second = graph_.add_rule(), schema, path});
  return at->second;
}

// The text of a schema that many references name is made once.
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

NodeId SchemaCompiler::value_of(const Json& schema, const std::string& path, NodeId next) {
  if (schema.boolean()) return *schema.boolean() ? json_.any_value(next) : Graph::kNowhere;
  if (!schema.object()) refuse_schema(path, str("expected a schema, found ", schema.describe()));
  check_keywords(schema, path);
  if (const Json* reference = schema.find("$ref")) {
    if (!reference->string()) refuse_schema(path, "\"$ref\" is no text");
    const Json rest = without(schema, {"$ref", "$defs", "definitions"});
    const Json& target = document_.resolve(*reference->string(), path);
    if (!demands_anything(rest)) return graph_.call(rule_of_target(target, *reference->string()), next);
    return graph_.call(rule_of(merge_schemas(document_, rest, target, path), path), next);
  }
  if (const Json* all = schema.find("allOf")) {
    const Json rest = without(schema, {"allOf"});
    if (all->array() && all->array()->size() == 1 && !demands_anything(rest)) {
      return value((*all->array())[0], path + "/allOf/0", next);
    }
    const Json whole(Json::Object{{"allOf", *all}});
    return graph_.call(rule_of(merge_schemas(document_, rest, whole, path), path), next);
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

NodeId SchemaCompiler::branches(const Json& schema, const std::string& keyword, const std::string& path, NodeId next) {
  const Json& list = *schema.find(keyword);
  if (!list.array() || list.array()->empty()) refuse_schema(path, str(quote(keyword), " is no list of schemas"));
  if (keyword == "anyOf" && schema.find("oneOf")) refuse_schema(path, "\"anyOf\" beside \"oneOf\" is not supported");
  const Json::Array& all = *list.array();
  if (keyword == "oneOf") {
    if (const auto overlap = first_overlap(document_, all)) {
      refuse_schema(path, str("\"oneOf\": branches ", overlap->second, " and ", overlap->first,
                              " may have values in common, which is not supported; use \"anyOf\", or a property that "
                              "tells them apart"));
    }
  }
  const Json rest = without(schema, {keyword, "$defs", "definitions"});
  const bool has_rest = demands_anything(rest);
  std::vector<NodeId> ways;
  for (size_t i = 0; i < all.size(); ++i) {
    const std::string at = str(path, "/", keyword, "/", i);
    ways.push_back(has_rest ? value(merge_schemas(document_, rest, all[i], at), at, next) : value(all[i], at, next));
  }
  return graph_.any_of(std::move(ways));
}

NodeId SchemaCompiler::listed(const Json& schema, const std::string& path, NodeId next) {
  for (const auto& [keyword, member] : *schema.object()) {
    const bool fits = keyword == "enum" || keyword == "const" || keyword == "type" || keyword == "nullable";
    if (fits || is_annotation(keyword)) continue;
    refuse_schema(path, str(quote(keyword), " beside \"enum\" or \"const\" is not supported"));
  }
  const Json *values = schema.find("enum"), *value = schema.find("const");
  if (values != nullptr && !values->array()) refuse_schema(path, "\"enum\" is no list");
  const std::vector<std::string> types = types_of(schema, path);
  std::vector<std::string> texts;
  const Json::Array single = value != nullptr ? Json::Array{*value} : Json::Array{};
  for (const Json& one : values != nullptr ? *values->array() : single) {
    const bool is_const = value == nullptr || compact(one) == compact(*value);
    const bool is_typed = schema.find("type") == nullptr || std::any_of(types.begin(), types.end(),
                                                       [&](const std::string& type) { return has_type(one, type); });
    if (is_const && is_typed) texts.push_back(compact(one));
  }
  return graph_.choice(std::move(texts), next);
}

NodeId SchemaCompiler::of_type(const Json& schema, const std::string& type, const std::string& path, NodeId next) {
  if (type == "object") return object(schema, path, next);
  if (type == "array") return array(schema, path, next);
  if (type == "string") return string(schema, path, next);
  if (type == "boolean") return graph_.any_of({graph_.text("true", next), graph_.text("false", next)});
  if (type == "null") return graph_.text("null", next);
  return number(schema, type == "integer", path, next);
}

// Two nodes for each property: one where nothing has been written yet, one where a comma comes first.
NodeId SchemaCompiler::object(const Json& schema, const std::string& path, NodeId next) {
  struct Property {
    std::string name;
    Json schema;
    bool required;
  };
  std::vector<Property> properties;
  const Json *declared = schema.find("properties"), *required = schema.find("required");
  const Json* more = schema.find("additionalProperties");
  const Json anything(true);
  if (declared != nullptr) {
    if (!declared->object()) refuse_schema(path, "\"properties\" is no object");
    if (declared->object()->size() > kMaxProperties) refuse_schema(path, str("more than ", kMaxProperties, " properties"));
    for (const auto& [name, of] : *declared->object()) properties.push_back({name, of, false});
  }
  if (required != nullptr) {
    if (!required->array()) refuse_schema(path, "\"required\" is no list");
    if (required->array()->size() > kMaxProperties) refuse_schema(path, str("more than ", kMaxProperties, " properties"));
    for (const Json& name : *required->array()) {
      if (!name.string()) refuse_schema(path, "\"required\" is no list of texts");
      const auto at = std::find_if(properties.begin(), properties.end(),
                                   [&](const Property& property) { return property.name == *name.string(); });
      if (at == properties.end()) {
        properties.push_back({*name.string(), more != nullptr ? *more : anything, true});
      } else {
        at->required = true;
      }
    }
  }
  if (properties.size() > kMaxProperties) refuse_schema(path, str("more than ", kMaxProperties, " properties"));
  if (declared == nullptr && properties.empty() && more == nullptr) return json_.any_object(next);

  const bool has_more = more != nullptr && !(more->boolean() && !*more->boolean());
  const NodeId close = json_.blanks(graph_.text("}", next));
  NodeId first = close, later = close;  // before the property after this one
  if (has_more) {
    std::vector<std::string> names;
    for (const Property& property : properties) names.push_back(property.name);
    const NodeId value_start = value(*more, path + "/additionalProperties", Graph::kEndNode);
    const RuleId member = graph_.add_rule(json_.other_name(names, json_.colon(value_start)));
    const RuleId follower = graph_.add_rule(graph_.text(",", json_.blanks(graph_.call(member, Graph::kEndNode))));
    later = graph_.repeat(follower, 0, kUnlimited, close);
    first = graph_.any_of({json_.blanks(graph_.call(member, later)), close});
  }
  for (auto property = properties.rbegin(); property != properties.rend(); ++property) {
    const std::string at = str(path, "/properties/", property->name);
    const NodeId here = graph_.text(json_string(property->name), json_.colon(value(property->schema, at, later)));
    const NodeId opening = json_.blanks(here), following = graph_.text(",", json_.blanks(here));
    first = property->required ? opening : graph_.any_of({opening, first});
    later = property->required ? following : graph_.any_of({following, later});
  }
  return graph_.text("{", first);
}

NodeId SchemaCompiler::array(const Json& schema, const std::string& path, NodeId next) {
  const uint32_t min = count_of(schema, "minItems", 0, path), max = count_of(schema, "maxItems", kUnlimited, path);
  const Json *leading = schema.find("prefixItems"), *items = schema.find("items");
  if (leading == nullptr && items == nullptr && min == 0 && max == kUnlimited) return json_.any_array(next);
  if (leading != nullptr && !leading->array()) refuse_schema(path, "\"prefixItems\" is no list");
  if (items != nullptr && items->array()) refuse_schema(path, "\"items\" as a list is not supported: use \"prefixItems\"");
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

NodeId SchemaCompiler::string(const Json& schema, const std::string& path, NodeId next) {
  const Json *pattern = schema.find("pattern"), *format = schema.find("format");
  const bool has_length = schema.find("minLength") || schema.find("maxLength");
  if (pattern == nullptr && format == nullptr) {
    const uint32_t min = count_of(schema, "minLength", 0, path), max = count_of(schema, "maxLength", kUnlimited, path);
    return json_.string_of_length(min, max, next);
  }
  if (pattern != nullptr && format != nullptr) refuse_schema(path, "\"format\" beside \"pattern\" is not supported");
  if (has_length) {
    refuse_schema(path, str(quote(schema.find("minLength") ? "minLength" : "maxLength"), " beside ",
                            quote(pattern != nullptr ? "pattern" : "format"), " is not supported"));
  }
  const NodeId close = graph_.text("\"", next);
  if (pattern != nullptr) {
    if (!pattern->string()) refuse_schema(path, "\"pattern\" is no text");
    return graph_.text("\"", regex(graph_, *pattern->string(), Anchoring::kSearch, Spelling::kJsonString,
                                   str("schema ", path, ": \"pattern\""), close));
  }
  if (!format->string()) refuse_schema(path, "\"format\" is no text");
  for (const Format& known : kFormats) {
    if (known.name != *format->string()) continue;
    return graph_.text("\"", regex(graph_, known.pattern, Anchoring::kWhole, Spelling::kJsonString, "format", close));
  }
  refuse_schema(path, str("the \"format\" ", quote(*format->string()), " is not supported"));
}

NodeId SchemaCompiler::number(const Json& schema, bool integer, const std::string& path, NodeId next) {
  NumberBounds bounds;
  const auto read = [&](const char* keyword, std::optional<NumberBound>& bound, bool exclusive, int sign) {
    const Json* limit = schema.find(keyword);
    if (limit == nullptr) return;
    if (!limit->number()) refuse_schema(path, str(quote(keyword), ": expected a number, found ", limit->describe()));
    const double here = limit->number()->value;
    const bool is_tighter = !bound || here * sign > bound->value * sign || (here == bound->value && exclusive);
    if (is_tighter) bound = NumberBound{here, exclusive};
  };
  read("minimum", bounds.min, false, 1);
  read("exclusiveMinimum", bounds.min, true, 1);
  read("maximum", bounds.max, false, -1);
  read("exclusiveMaximum", bounds.max, true, -1);
  if (const Json* step = schema.find("multipleOf")) {
    if (!step->number()) refuse_schema(path, "\"multipleOf\" is no number");
    return multiple_within(graph_, bounds, step->number()->value, str("schema ", path), next);
  }
  if (integer) return integer_within(graph_, bounds, next);
  return bounds.min || bounds.max ? number_within(graph_, bounds, str("schema ", path), next) : json_.any_number(next);
}

}  // namespace oss::grammar
