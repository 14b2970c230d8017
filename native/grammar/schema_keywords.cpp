#include "native/grammar/schema_keywords.h"

#include <algorithm>

#include "native/base/error.h"
#include "native/base/str.h"

namespace oss::grammar {
namespace {

struct Keyword {
  std::string_view name, type;
};
constexpr Keyword kKeywords[] = {
    {"type", ""},
    {"enum", ""},
    {"const", ""},
    {"anyOf", ""},
    {"oneOf", ""},
    {"allOf", ""},
    {"$ref", ""},
    {"nullable", ""},
    {"not", ""},
    {"if", ""},
    {"then", ""},
    {"else", ""},
    {"$dynamicRef", ""},
    {"$recursiveRef", ""},
    {"properties", "object"},
    {"required", "object"},
    {"additionalProperties", "object"},
    {"patternProperties", "object"},
    {"propertyNames", "object"},
    {"minProperties", "object"},
    {"maxProperties", "object"},
    {"unevaluatedProperties", "object"},
    {"dependentRequired", "object"},
    {"dependentSchemas", "object"},
    {"dependencies", "object"},
    {"items", "array"},
    {"prefixItems", "array"},
    {"additionalItems", "array"},
    {"unevaluatedItems", "array"},
    {"minItems", "array"},
    {"maxItems", "array"},
    {"uniqueItems", "array"},
    {"contains", "array"},
    {"minContains", "array"},
    {"maxContains", "array"},
    {"minLength", "string"},
    {"maxLength", "string"},
    {"pattern", "string"},
    {kFurtherPatterns, "string"},
    {"format", ""},  // of strings and numbers
    {"minimum", "number"},
    {"maximum", "number"},
    {"exclusiveMinimum", "number"},
    {"exclusiveMaximum", "number"},
    {"multipleOf", "number"},
};

const Keyword* find_keyword(std::string_view name) {
  const auto at =
      std::find_if(std::begin(kKeywords), std::end(kKeywords), [&](const Keyword& k) { return k.name == name; });
  return at == std::end(kKeywords) ? nullptr : at;
}

bool contains(std::initializer_list<std::string_view> list, std::string_view keyword) {
  return std::find(list.begin(), list.end(), keyword) != list.end();
}

bool is_empty_object(const Json& value) { return value.object() && value.object()->empty(); }
bool is_boolean(const Json* value, bool which) { return value && value->boolean() && *value->boolean() == which; }

// Whether the keyword has no effect where it is.
bool demands_nothing(const Json& schema, const std::string& keyword, const Json& value) {
  const bool has_condition = schema.find("if") && (schema.find("then") || schema.find("else"));
  if (contains({"if", "then", "else"}, keyword)) return !has_condition;
  if (contains({"minContains", "maxContains"}, keyword)) return schema.find("contains") == nullptr;
  if (contains({"uniqueItems", "nullable", "exclusiveMinimum", "exclusiveMaximum"}, keyword))
    return is_boolean(&value, false);
  if (contains({"minProperties", "minItems", "minLength"}, keyword)) return value.integer() && *value.integer() == 0;
  if (contains({"patternProperties", "dependentRequired", "dependentSchemas", "dependencies"}, keyword)) {
    return is_empty_object(value);
  }
  if (contains({"unevaluatedProperties", "unevaluatedItems"}, keyword)) return is_true_schema(value);
  if (keyword == "contains") {
    const Json* least = schema.find("minContains");
    return least && least->integer() && *least->integer() == 0 && schema.find("maxContains") == nullptr;
  }
  if (keyword == "not") return is_false_schema(value);
  if (keyword == "additionalItems") return !(schema.find("items") && schema.find("items")->array());
  if (keyword == "propertyNames") {
    if (is_true_schema(value)) return true;
    // Every name is a string.
    const Json* type = value.find("type");
    return type && type->string() && *type->string() == "string" && !demands_anything(without(value, {"type"}));
  }
  return false;
}

bool is_unsupported(std::string_view keyword) {
  return contains({"if", "then", "else", "contains", "minContains", "maxContains", "dependentRequired",
                   "dependentSchemas", "dependencies", "$dynamicRef", "$recursiveRef"},
                  keyword);
}

void set(Json::Object& object, std::string_view key, Json value) {
  for (auto& [known, member] : object) {
    if (known != key) continue;
    member = std::move(value);
    return;
  }
  object.emplace_back(std::string(key), std::move(value));
}

void drop(Json::Object& object, std::string_view key) {
  std::erase_if(object, [&](const auto& member) { return member.first == key; });
}

bool needs_respelling(const Json& schema) {
  const Json* items = schema.find("items");
  const bool has_parts = schema.find("$ref") || schema.find("allOf") || schema.find("anyOf") || schema.find("oneOf");
  const bool is_unevaluated = schema.find("unevaluatedProperties") || schema.find("unevaluatedItems");
  return is_boolean(schema.find("nullable"), true) || (items && items->array()) || (is_unevaluated && !has_parts) ||
         is_boolean(schema.find("exclusiveMinimum"), true) || is_boolean(schema.find("exclusiveMaximum"), true);
}

Json respelled(Json::Object out, const std::string& path) {
  const auto find = [&](std::string_view key) {
    const auto at = std::find_if(out.begin(), out.end(), [&](const auto& member) { return member.first == key; });
    return at == out.end() ? nullptr : &at->second;
  };
  if (const Json* items = find("items"); items && items->array()) {
    if (find("prefixItems")) refuse_schema(path, "\"items\" as a list beside \"prefixItems\" is not supported");
    const Json leading = *items;
    const Json* more = find("additionalItems");
    const std::optional<Json> rest = more ? std::optional(*more) : std::nullopt;
    drop(out, "items");
    drop(out, "additionalItems");
    set(out, "prefixItems", leading);
    if (rest) set(out, "items", *rest);
  }
  for (const auto& [exclusive, bound] :
       {std::pair("exclusiveMinimum", "minimum"), std::pair("exclusiveMaximum", "maximum")}) {
    if (!is_boolean(find(exclusive), true)) continue;
    const std::optional<Json> limit = find(bound) ? std::optional(*find(bound)) : std::nullopt;
    drop(out, exclusive);
    drop(out, bound);
    if (limit) set(out, exclusive, *limit);
  }
  // Beside parts that evaluate members, they stay until the parts are merged (schema.cpp).
  if (!find("$ref") && !find("allOf") && !find("anyOf") && !find("oneOf")) {
    for (const auto& [all, own] :
         {std::pair("unevaluatedProperties", "additionalProperties"), std::pair("unevaluatedItems", "items")}) {
      if (!find(all)) continue;
      const Json rest = *find(all);
      drop(out, all);
      if (!find(own)) set(out, own, rest);
    }
  }
  if (!is_boolean(find("nullable"), true)) return Json(std::move(out));
  drop(out, "nullable");
  if (Json* type = const_cast<Json*>(find("type"))) {
    Json::Array types = type->array() ? *type->array() : Json::Array{*type};
    types.push_back(Json(std::string("null")));
    *type = Json(std::move(types));
    return Json(std::move(out));
  }
  Json whole(std::move(out));
  if (!demands_anything(whole)) return whole;
  const Json null(Json::Object{{"type", Json(std::string("null"))}});
  return Json(Json::Object{{"anyOf", Json(Json::Array{std::move(whole), null})}});
}

}  // namespace

bool is_annotation(std::string_view keyword) { return find_keyword(keyword) == nullptr; }

std::string_view type_of_keyword(std::string_view keyword) {
  const Keyword* known = find_keyword(keyword);
  return known == nullptr ? "" : known->type;
}

void refuse_schema(const std::string& path, const std::string& why) {
  throw Error(Code::kInvalidArgument, str("schema ", path, ": ", why));
}

Json without(const Json& object, std::initializer_list<std::string_view> keywords) {
  Json::Object out;
  for (const auto& member : *object.object()) {
    if (!contains(keywords, member.first)) out.push_back(member);
  }
  return Json(std::move(out));
}

std::vector<std::string> texts_of(const Json* list) {
  std::vector<std::string> out;
  if (list == nullptr) return out;
  if (list->string()) return {*list->string()};
  if (list->array()) {
    for (const Json& item : *list->array()) {
      if (item.string()) out.push_back(*item.string());
    }
  }
  return out;
}

const Json* schema_of_member(const Json& schema, const std::string& name) {
  if (const Json* properties = schema.find("properties")) {
    if (const Json* property = properties->find(name)) return property;
  }
  return schema.find("additionalProperties");
}

bool demands_anything(const Json& schema) {
  if (!schema.object()) return true;
  return std::any_of(schema.object()->begin(), schema.object()->end(),
                     [](const auto& member) { return !is_annotation(member.first); });
}

bool is_true_schema(const Json& schema) {
  return is_boolean(&schema, true) || (schema.object() && !demands_anything(schema));
}

bool is_false_schema(const Json& schema) {
  if (is_boolean(&schema, false)) return true;
  const Json* excluded = schema.find("not");
  return excluded && is_true_schema(*excluded);
}

std::optional<Json> in_one_spelling(const Json& schema, const std::string& path) {
  if (is_false_schema(schema)) return Json(false);
  bool has_idle = false;
  for (const auto& [keyword, value] : *schema.object()) {
    const bool is_idle = demands_nothing(schema, keyword, value);
    has_idle = has_idle || is_idle;
    if (!is_idle && (is_unsupported(keyword) || keyword == "not")) {
      refuse_schema(path, str("the keyword ", quote(keyword), " is not supported"));
    }
  }
  if (!has_idle && !needs_respelling(schema)) return std::nullopt;
  Json::Object out;
  for (const auto& member : *schema.object()) {
    if (!demands_nothing(schema, member.first, member.second)) out.push_back(member);
  }
  return respelled(std::move(out), path);
}

}  // namespace oss::grammar
