#include "native/grammar/schema_overlap.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "native/grammar/json_text.h"
#include "native/grammar/schema_merge.h"

namespace oss::grammar {
namespace {

// The JSON types that a schema may have values of, as bits; integers are numbers.
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
    return value.is_null() ? 1 : value.boolean() ? 2 : value.number() ? 4 : value.string() ? 8 : value.array() ? 16 : 32;
  };
  int kinds = 63;
  if (const Json* type = schema.find("type")) {
    int named = 0;
    for (const std::string& name : texts_of(type)) named |= bit(name);
    if (const Json* nullable = schema.find("nullable"); nullable && nullable->boolean() && *nullable->boolean()) named |= 1;
    kinds &= named;
  }
  int listed = 0;
  if (const Json* value = schema.find("const")) kinds &= of_value(*value);
  if (const Json* values = schema.find("enum"); values && values->array()) {
    for (const Json& value : *values->array()) listed |= of_value(value);
    kinds &= listed;
  }
  return kinds;
}

// All values that a schema may have where it lists them, or its branches do; more than it has, where it demands other things
// as well.
std::optional<std::unordered_set<std::string>> listed_values(const SchemaDocument& document, const Json& schema) {
  document.spend(Work::kComparisons);
  if (const Json* value = schema.find("const")) return std::unordered_set<std::string>{compact(*value)};
  std::unordered_set<std::string> out;
  if (const Json* values = schema.find("enum"); values != nullptr && values->array()) {
    document.spend(Work::kComparisons, values->array()->size());
    for (const Json& value : *values->array()) out.insert(compact(value));
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

// A schema behind its references: itself or one of the document, or in `place` where something stands beside them.
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

// No value is valid under both; false where that cannot be told.
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

}  // namespace

std::optional<std::pair<size_t, size_t>> first_overlap(const SchemaDocument& document, const Json::Array& schemas) {
  // Most lists are of values: then no two need to be compared.
  std::unordered_map<std::string, size_t> first_with;
  bool all_listed = true;
  for (size_t i = 0; i < schemas.size() && all_listed; ++i) {
    const auto values = listed_values(document, schemas[i]);
    all_listed = values.has_value();
    if (!values) break;
    for (const std::string& value : *values) all_listed &= first_with.try_emplace(value, i).second;
  }
  if (all_listed) return std::nullopt;
  for (size_t i = 0; i < schemas.size(); ++i) {
    for (size_t k = 0; k < i; ++k) {
      if (!are_disjoint(document, schemas[i], schemas[k], 0)) return std::pair(i, k);
    }
  }
  return std::nullopt;
}

}  // namespace oss::grammar
