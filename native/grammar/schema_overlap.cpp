#include "native/grammar/schema_overlap.h"

#include <algorithm>
#include <map>
#include <span>
#include <unordered_map>
#include <unordered_set>

#include "native/grammar/json_text.h"
#include "native/grammar/schema_merge.h"

namespace oss::grammar {
namespace {

// The same text for equal values: like compact(), but with the members of objects sorted.
std::string text_of_value(const Json& value) {
  std::string out;
  if (value.array()) {
    for (const Json& item : *value.array()) out += (out.empty() ? "[" : ",") + text_of_value(item);
    return out.empty() ? "[]" : out + "]";
  }
  if (!value.object()) return compact(value);
  std::map<std::string_view, const Json*> members;
  for (const auto& [name, member] : *value.object()) members.emplace(name, &member);
  for (const auto& [name, member] : members) {
    out += (out.empty() ? "{" : ",") + json_string(name) + ":" + text_of_value(*member);
  }
  return out.empty() ? "{}" : out + "}";
}

// "nullable" without "type" adds null to the other demands.
bool is_nullable(const Json& schema) {
  const Json* nullable = schema.find("nullable");
  return nullable != nullptr && nullable->boolean() && *nullable->boolean() && schema.find("type") == nullptr;
}

// The JSON types that the schema's values may have, as bits; integers are numbers.
int kinds_of(const Json& schema) {
  constexpr std::string_view kNames[] = {"null", "boolean", "number", "string", "array", "object"};
  const auto bit = [&](std::string_view name) {
    if (name == "integer") name = "number";
    for (int i = 0; i < 6; ++i) {
      if (kNames[i] == name) return 1 << i;
    }
    return 0;
  };
  const auto of_value = [&](const Json& value) {
    return value.is_null()   ? 1
           : value.boolean() ? 2
           : value.number()  ? 4
           : value.string()  ? 8
           : value.array()   ? 16
                             : 32;
  };
  int kinds = 63;
  if (const Json* type = schema.find("type")) {
    int named = 0;
    for (const std::string& name : texts_of(type)) named |= bit(name);
    if (const Json* nullable = schema.find("nullable"); nullable && nullable->boolean() && *nullable->boolean())
      named |= 1;
    kinds &= named;
  }
  int listed = 0;
  if (const Json* value = schema.find("const")) kinds &= of_value(*value);
  if (const Json* values = schema.find("enum"); values && values->array()) {
    for (const Json& value : *values->array()) listed |= of_value(value);
    kinds &= listed;
  }
  return kinds | int(is_nullable(schema));
}

bool only_lists(const Json& schema) {
  if (!schema.object() || (schema.find("const") == nullptr) == (schema.find("enum") == nullptr)) return false;
  if (const Json* values = schema.find("enum"); values != nullptr && !values->array()) return false;
  return std::all_of(schema.object()->begin(), schema.object()->end(), [](const auto& member) {
    return member.first == "const" || member.first == "enum" || is_annotation(member.first);
  });
}

// All values of a schema that lists them, directly or in its branches. The list may be too long where the schema
// demands other things as well.
std::optional<std::unordered_set<std::string>> listed_values(const SchemaDocument& document, const Json& schema) {
  document.spend(Work::kComparisons);
  std::unordered_set<std::string> out;
  if (is_nullable(schema)) out.insert("null");
  if (const Json* value = schema.find("const")) {
    out.insert(text_of_value(*value));
    return out;
  }
  if (const Json* values = schema.find("enum"); values != nullptr && values->array()) {
    document.spend(Work::kComparisons, values->array()->size());
    for (const Json& value : *values->array()) out.insert(text_of_value(value));
    return out;
  }
  for (const char* keyword : {"anyOf", "oneOf"}) {
    const Json* branches = schema.find(keyword);
    if (branches == nullptr || !branches->array()) continue;
    for (const Json& branch : *branches->array()) {
      auto values = listed_values(document, branch);
      if (!values) return std::nullopt;
      document.spend(Work::kComparisons, values->size());
      out.merge(*values);
    }
    return out;
  }
  return std::nullopt;
}

// The target of a schema's references. Returns the schema itself or one of the document. `place` holds the result of a
// merge with keywords beside the references.
const Json& behind_references(const SchemaDocument& document, const Json& schema, std::optional<Json>& place) {
  const Json* at = &schema;
  for (int hops = 0; hops <= kMaxReferences; ++hops) {
    const Json* reference = at->find("$ref");
    if (reference == nullptr) return *at;
    if (reference->string() == nullptr || at->object()->size() > 1) break;
    at = &document.resolve(*reference->string(), "");
  }
  return place.emplace(follow_references(document, *at, ""));
}

// Whether no value is valid under both; false where this is unknown.
bool are_disjoint(const SchemaDocument& document, const Json& first, const Json& second, int depth) {
  if (depth > 4) return false;
  document.spend(Work::kComparisons);
  std::optional<Json> place_a, place_b;
  const Json &a = behind_references(document, first, place_a), &b = behind_references(document, second, place_b);
  const auto is_false = [](const Json& schema) { return schema.boolean() && !*schema.boolean(); };
  if (is_false(a) || is_false(b)) return true;
  if (!a.object() || !b.object()) return false;
  for (auto [one, other] : {std::pair(&a, &b), std::pair(&b, &a)}) {
    if (const Json* parts = one->find("allOf"); parts != nullptr && parts->array()) {
      const Json& against = *other;
      if (std::any_of(parts->array()->begin(), parts->array()->end(),
                      [&](const Json& part) { return are_disjoint(document, part, against, depth + 1); })) {
        return true;
      }
    }
    for (const char* keyword : {"anyOf", "oneOf"}) {
      const Json* branches = one->find(keyword);
      if (branches == nullptr || !branches->array()) continue;
      const Json& against = *other;
      if (std::all_of(branches->array()->begin(), branches->array()->end(),
                      [&](const Json& branch) { return are_disjoint(document, branch, against, depth + 1); })) {
        return true;
      }
    }
  }
  if ((kinds_of(a) & kinds_of(b)) == 0) return true;
  const auto values_a = listed_values(document, a), values_b = listed_values(document, b);
  if (values_a && values_b) {
    document.spend(Work::kComparisons, values_a->size());
    return std::none_of(values_a->begin(), values_a->end(),
                        [&](const std::string& value) { return values_b->contains(value); });
  }
  if ((kinds_of(a) & kinds_of(b)) != 32) return false;
  for (const auto& [one, other] : {std::pair(&a, &b), std::pair(&b, &a)}) {
    for (const std::string& name : texts_of(one->find("required"))) {
      const Json *here = schema_of_member(*one, name), *there = schema_of_member(*other, name);
      if (there == nullptr) continue;
      if (is_false(*there)) return true;
      const auto required = texts_of(other->find("required"));
      document.spend(Work::kComparisons, required.size());
      const bool both = std::find(required.begin(), required.end(), name) != required.end();
      if (here != nullptr && both && are_disjoint(document, *here, *there, depth + 1)) return true;
    }
  }
  return false;
}

// Marks object schemas that one property separates: each requires it, with different values. Unions of a thousand
// schemas are written this way, and then their pairs need no comparison.
std::vector<bool> told_apart(const SchemaDocument& document, const Json::Array& schemas) {
  constexpr size_t kMostNames = 4;  // of properties that are tried
  struct Branch {
    std::optional<Json> place;
    const Json* schema = nullptr;
    std::vector<std::string> required;
  };
  std::vector<Branch> branches(schemas.size());
  std::vector<bool> none(schemas.size()), out(schemas.size());
  std::vector<std::string> names;
  for (size_t i = 0; i < schemas.size(); ++i) {
    document.spend(Work::kComparisons);
    Branch& branch = branches[i];
    branch.schema = &behind_references(document, schemas[i], branch.place);
    if (!branch.schema->object() || kinds_of(*branch.schema) != 32) continue;  // may be something other than an object
    branch.required = texts_of(branch.schema->find("required"));
    document.spend(Work::kComparisons, branch.required.size());
    if (names.empty()) names = branch.required;
  }
  names.resize(std::min(names.size(), kMostNames));
  for (const std::string& name : names) {
    out = none;
    std::unordered_set<std::string> taken;
    bool is_apart = true;
    for (size_t i = 0; i < schemas.size() && is_apart; ++i) {
      const Branch& branch = branches[i];
      if (std::find(branch.required.begin(), branch.required.end(), name) == branch.required.end()) continue;
      const Json* member = schema_of_member(*branch.schema, name);
      if (member == nullptr) continue;
      std::optional<Json> place;
      const auto values = listed_values(document, behind_references(document, *member, place));
      if (!values) continue;
      out[i] = true;
      for (const std::string& value : *values) is_apart &= taken.insert(value).second;
    }
    if (is_apart && std::find(out.begin(), out.end(), true) != out.end()) return out;
  }
  return none;
}

}  // namespace

std::optional<std::pair<size_t, size_t>> first_overlap(const SchemaDocument& document, const Json::Array& schemas) {
  // In most cases all schemas list values, and then their pairs need no comparison.
  std::unordered_map<std::string, size_t> first_with;
  bool all_listed = true;
  for (size_t i = 0; i < schemas.size() && all_listed; ++i) {
    const auto values = listed_values(document, schemas[i]);
    all_listed = values.has_value();
    if (!values) break;
    for (const std::string& value : *values) all_listed &= first_with.try_emplace(value, i).second;
  }
  if (all_listed) return std::nullopt;
  const std::vector<bool> apart = told_apart(document, schemas);
  for (size_t i = 0; i < schemas.size(); ++i) {
    for (size_t k = 0; k < i; ++k) {
      if (apart[i] && apart[k]) continue;
      if (!are_disjoint(document, schemas[i], schemas[k], 0)) return std::pair(i, k);
    }
  }
  return std::nullopt;
}

std::optional<Json::Array> values_of_one(const SchemaDocument& document, const Json::Array& schemas) {
  if (!std::all_of(schemas.begin(), schemas.end(), only_lists)) return std::nullopt;
  struct Value {
    const Json* value;
    size_t last;     // the last schema that lists it
    bool is_shared;  // listed by two schemas
  };
  std::vector<Value> values;
  std::unordered_map<std::string, size_t> known;
  for (size_t i = 0; i < schemas.size(); ++i) {
    const Json *constant = schemas[i].find("const"), *listed = schemas[i].find("enum");
    const std::span<const Json> own = constant != nullptr ? std::span(constant, 1) : std::span(*listed->array());
    document.spend(Work::kComparisons, own.size());
    for (const Json& value : own) {
      const auto [at, is_new] = known.try_emplace(text_of_value(value), values.size());
      if (is_new) {
        values.push_back({&value, i, false});
      } else {
        values[at->second].is_shared |= values[at->second].last != i;
      }
    }
  }
  Json::Array out;
  for (const Value& one : values) {
    if (!one.is_shared) out.push_back(*one.value);
  }
  return out;
}

}  // namespace oss::grammar
