#include "native/grammar/schema_merge.h"

#include <algorithm>
#include <optional>
#include <unordered_set>

#include "native/base/error.h"
#include "native/base/str.h"
#include "native/grammar/formats.h"
#include "native/grammar/json_text.h"

namespace oss::grammar {
namespace {

bool contains(std::initializer_list<std::string_view> list, std::string_view keyword) {
  return std::find(list.begin(), list.end(), keyword) != list.end();
}

bool is_least(std::string_view keyword) {
  return contains({"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"}, keyword);
}

bool is_most(std::string_view keyword) {
  return contains({"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"}, keyword);
}

void set(Json::Object& object, const std::string& key, Json value) {
  for (auto& [known, member] : object) {
    if (known == key) {
      member = std::move(value);
      return;
    }
  }
  object.emplace_back(key, std::move(value));
}

Json types_in_common(const Json& a, const Json& b) {
  Json::Array common;
  const std::vector<std::string> theirs = texts_of(&b);
  const auto has = [&](const std::string& name) {
    return std::find(theirs.begin(), theirs.end(), name) != theirs.end();
  };
  for (const std::string& name : texts_of(&a)) {
    if (has(name) || (name == "integer" && has("number"))) {
      common.emplace_back(name);
    } else if (name == "number" && has("integer")) {
      common.emplace_back(std::string("integer"));
    }
  }
  return Json(std::move(common));
}

Json values_in_common(const Json::Array& a, const Json::Array& b) {
  std::unordered_set<std::string> texts;
  for (const Json& value : b) texts.insert(compact(value));
  Json::Array common;
  for (const Json& value : a) {
    if (texts.contains(compact(value))) common.push_back(value);
  }
  return Json(std::move(common));
}

// The joint demands on a nested value, merged when they are compiled. Merging at once would never end for recursive
// schemas, and would double others with each level.
Json both_of(const SchemaDocument& document, const Json& a, const Json& b) {
  for (const auto& [one, other] : {std::pair(&a, &b), std::pair(&b, &a)}) {
    if (one->boolean()) return *one->boolean() ? *other : *one;
  }
  Json::Array parts;
  std::unordered_set<std::string> texts;
  for (const Json* part : {&a, &b}) {
    const Json* all = part->object() && part->object()->size() == 1 ? part->find("allOf") : nullptr;
    for (const Json& one : all != nullptr && all->array() ? *all->array() : Json::Array{*part}) {
      std::string text = compact(one);
      document.spend(Work::kBytes, text.size());
      if (texts.insert(std::move(text)).second) parts.push_back(one);
    }
  }
  if (parts.size() == 1) return parts[0];
  return Json(Json::Object{{"allOf", Json(std::move(parts))}});
}

// The approximate size of a copy in bytes.
uint64_t weight_of(const Json& json) {
  uint64_t weight = sizeof(Json);
  if (json.string()) return weight + json.string()->size();
  if (json.array()) {
    for (const Json& item : *json.array()) weight += weight_of(item);
  }
  if (json.object()) {
    for (const auto& [name, member] : *json.object()) weight += name.size() + weight_of(member);
  }
  return weight;
}

// Follows references and merges the keywords beside them.
Json followed(const SchemaDocument& document, const Json& schema, const std::string& path, int hops) {
  const Json* reference = schema.find("$ref");
  if (reference == nullptr) return schema;
  if (hops > kMaxReferences) refuse_schema(path, "\"$ref\" leads back to itself");
  if (!reference->string()) refuse_schema(path, "\"$ref\" is not a string");
  Json target = followed(document, document.resolve(*reference->string(), path), path, hops + 1);
  const Json rest = without(schema, {"$ref", "$defs", "definitions"});
  return demands_anything(rest) ? merge_schemas(document, rest, target, path) : target;
}

// Merges "allOf" into the schema itself.
Json flattened(const SchemaDocument& document, const Json& schema, const std::string& path) {
  if (schema.find("$ref") == nullptr && schema.find("allOf") == nullptr) return schema;
  return document.once("flat " + compact(schema), path, [&] {
    Json whole = follow_references(document, schema, path);
    const Json* all = whole.find("allOf");
    if (all == nullptr) return whole;
    if (!all->array()) refuse_schema(path, "\"allOf\" is not an array");
    const Json::Array parts = *all->array();
    Json out = without(whole, {"allOf"});
    std::unordered_set<std::string> texts;
    for (const Json& part : parts) {
      if (texts.insert(compact(part)).second) out = merge_schemas(document, out, flattened(document, part, path), path);
    }
    return out;
  });
}

void merge_objects(const SchemaDocument& document, const Json& a, const Json& b, const std::string& path,
                   Json::Object& out) {
  Json::Object properties;
  std::unordered_set<std::string_view> names;
  for (const Json* from : {&a, &b}) {
    const Json* own = from->find("properties");
    if (own == nullptr) continue;
    if (!own->object()) refuse_schema(path, "\"properties\" is not an object");
    document.spend(Work::kComparisons, own->object()->size() * own->object()->size() / 64);  // names are short
    for (const auto& [name, schema] : *own->object()) {
      if (!names.insert(name).second) continue;
      const Json *in_a = schema_of_member(a, name), *in_b = schema_of_member(b, name);
      properties.emplace_back(name, in_a != nullptr && in_b != nullptr ? both_of(document, *in_a, *in_b)
                                                                       : (in_a != nullptr ? *in_a : *in_b));
    }
  }
  if (!properties.empty()) set(out, "properties", Json(std::move(properties)));
  const Json *more_a = a.find("additionalProperties"), *more_b = b.find("additionalProperties");
  if (more_a != nullptr && more_b != nullptr) {
    set(out, "additionalProperties", both_of(document, *more_a, *more_b));
  } else if (more_a != nullptr || more_b != nullptr) {
    set(out, "additionalProperties", more_a != nullptr ? *more_a : *more_b);
  }
}

// The schema of an array's item at a position: its own, or the one of all further items.
Json schema_of_item(const Json& schema, size_t at) {
  const Json* leading = schema.find("prefixItems");
  if (leading && leading->array() && at < leading->array()->size()) return (*leading->array())[at];
  const Json* items = schema.find("items");
  return items ? *items : Json(true);
}

void merge_arrays(const SchemaDocument& document, const Json& a, const Json& b, const std::string& path,
                  Json::Object& out) {
  size_t leading = 0;
  for (const Json* from : {&a, &b}) {
    const Json* own = from->find("prefixItems");
    if (own && !own->array()) refuse_schema(path, "\"prefixItems\" is not an array");
    if (own) leading = std::max(leading, own->array()->size());
  }
  const auto both = [&](size_t at) { return both_of(document, schema_of_item(a, at), schema_of_item(b, at)); };
  Json::Array first;
  for (size_t i = 0; i < leading; ++i) first.push_back(both(i));
  if (leading > 0) set(out, "prefixItems", Json(std::move(first)));
  if (a.find("items") || b.find("items")) set(out, "items", both(leading));
}

// Patterns that one string must all match.
Json patterns_in_common(const Json& a, const Json& b) {
  Json::Array all;
  for (const Json* from : {&a, &b}) {
    for (const std::string_view keyword : {std::string_view("pattern"), kFurtherPatterns}) {
      const Json* own = from->find(keyword);
      for (const std::string& pattern : texts_of(own)) {
        const Json one(pattern);
        if (std::none_of(all.begin(), all.end(), [&](const Json& known) { return compact(known) == compact(one); })) {
          all.push_back(one);
        }
      }
    }
  }
  return Json(std::move(all));
}

}  // namespace

Json follow_references(const SchemaDocument& document, const Json& schema, const std::string& path) {
  return followed(document, schema, path, 0);
}

Json merge_schemas(const SchemaDocument& document, const Json& first, const Json& second, const std::string& path) {
  for (const auto& [one, other] : {std::pair(&first, &second), std::pair(&second, &first)}) {
    if (one->boolean()) return *one->boolean() ? *other : *one;
    if (!one->object()) refuse_schema(path, str("expected a schema, found ", one->describe()));
  }
  document.spend(Work::kSchemas);
  document.spend(Work::kBytes, weight_of(first) + weight_of(second));
  const auto prepared = [&](const Json& schema) {
    const Json whole = flattened(document, schema, path);
    return whole.object() ? in_one_spelling(whole, path).value_or(whole) : whole;
  };
  const Json a = prepared(first), b = prepared(second);
  if (a.boolean() || b.boolean()) return merge_schemas(document, a, b, path);
  Json::Object out = *a.object();
  for (const auto& [keyword, theirs] : *b.object()) {
    const Json* ours = a.find(keyword);
    if (contains({"properties", "additionalProperties", "items", "prefixItems"}, keyword)) continue;
    if (contains({"pattern", kFurtherPatterns}, keyword)) continue;
    if (is_annotation(keyword) && ours != nullptr) continue;
    if (ours == nullptr || compact(*ours) == compact(theirs)) {
      set(out, keyword, theirs);
    } else if (keyword == "type") {
      set(out, keyword, types_in_common(*ours, theirs));
    } else if (keyword == "required" && ours->array() && theirs.array()) {
      Json::Array both = *ours->array();
      std::unordered_set<std::string> texts;
      for (const Json& name : both) texts.insert(compact(name));
      for (const Json& name : *theirs.array()) {
        if (texts.insert(compact(name)).second) both.push_back(name);
      }
      set(out, keyword, Json(std::move(both)));
    } else if (keyword == "enum" && ours->array() && theirs.array()) {
      set(out, keyword, values_in_common(*ours->array(), *theirs.array()));
    } else if (keyword == "propertyNames") {
      set(out, keyword, both_of(document, *ours, theirs));
    } else if (keyword == "format" && ours->string() && theirs.string() &&
               (!format_pattern(*ours->string()) || !format_pattern(*theirs.string()))) {
      set(out, keyword, format_pattern(*ours->string()) ? *ours : theirs);
    } else if (is_least(keyword) && ours->number() && theirs.number()) {
      set(out, keyword, compare(ours->number()->decimal(), theirs.number()->decimal()) >= 0 ? *ours : theirs);
    } else if (is_most(keyword) && ours->number() && theirs.number()) {
      set(out, keyword, compare(ours->number()->decimal(), theirs.number()->decimal()) <= 0 ? *ours : theirs);
    } else {
      refuse_schema(path, str("two different ", quote(keyword), " for the same value are not supported"));
    }
  }
  Json patterns = patterns_in_common(a, b);
  if (patterns.array()->size() > 1) {
    set(out, "pattern", (*patterns.array())[0]);
    set(out, std::string(kFurtherPatterns), std::move(patterns));
  } else if (!patterns.array()->empty()) {
    set(out, "pattern", (*patterns.array())[0]);
  }
  for (const auto& [one, other] : {std::pair(&a, &b), std::pair(&b, &a)}) {
    const Json* more = other->find("additionalProperties");
    if (one->find("patternProperties") && more && !is_true_schema(*more)) {
      refuse_schema(path,
                    "\"patternProperties\" of one part and \"additionalProperties\" of another are not supported");
    }
  }
  merge_objects(document, a, b, path, out);
  merge_arrays(document, a, b, path, out);
  return Json(std::move(out));
}

}  // namespace oss::grammar
