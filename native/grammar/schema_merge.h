// JSON schemas as values: what two schemas demand together, and whether two can agree on a value.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "native/base/json.h"
#include "native/grammar/budget.h"
#include "native/grammar/schema_keywords.h"

namespace oss::grammar {

// Finds what "$ref" names within one document, and remembers what was worked out about its schemas: a schema that is met
// again by another way costs a look-up.
class SchemaDocument {
 public:
  // The budget (null: none) outlives it.
  explicit SchemaDocument(const Json& root, Budget* budget = nullptr) : root_(root), budget_(budget) {}
  const Json& root() const { return root_; }
  // Throws kInvalidArgument for what is not a pointer into this document.
  const Json& resolve(const std::string& reference, const std::string& path) const;

  void spend(Work kind, uint64_t amount = 1) const {
    if (budget_ != nullptr) budget_->spend(kind, amount);
  }
  // What `make` makes of the schemas with this text, made once. Throws kInvalidArgument where making it needs itself.
  template <typename Make>
  Json once(std::string text, const std::string& path, Make&& make) const;

 private:
  static constexpr int kMaxDepth = 64;  // of schemas that need one another to be merged

  const Json& root_;
  Budget* budget_;
  mutable std::unordered_map<std::string, const Json*> resolved_;
  mutable std::unordered_map<std::string, std::optional<Json>> known_;  // none: it is being made
  mutable int depth_ = 0;
};

// A schema that demands what both demand, without "allOf" at its top; references at the top are followed, and what both
// demand of one member or item is left as an "allOf". Throws kInvalidArgument, naming the keyword, where that cannot be said
// in one schema.
Json merge_schemas(const SchemaDocument& document, const Json& a, const Json& b, const std::string& path);

// No value is valid under both; false where that cannot be told.
bool are_disjoint(const SchemaDocument& document, const Json& a, const Json& b);
// The first two of these that may have a value in common, the later one first.
std::optional<std::pair<size_t, size_t>> first_overlap(const SchemaDocument& document, const Json::Array& schemas);

}  // namespace oss::grammar
