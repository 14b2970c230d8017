// One JSON schema as a document: resolves "$ref" within it and caches results for its parts.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "native/base/json.h"
#include "native/base/str.h"
#include "native/grammar/budget.h"
#include "native/grammar/schema_keywords.h"

namespace oss::grammar {

constexpr int kMaxReferences = 32;  // in one chain of references

// A schema that is reached again on another way costs a look-up.
class SchemaDocument {
 public:
  // The budget (null: none) must outlive this object.
  explicit SchemaDocument(const Json& root, Budget* budget = nullptr) : root_(root), budget_(budget) {}
  const Json& root() const { return root_; }
  // Throws kInvalidArgument when `reference` is not a pointer into this document.
  const Json& resolve(const std::string& reference, const std::string& path) const;

  void spend(Work kind, uint64_t amount = 1) const {
    if (budget_ != nullptr) budget_->spend(kind, amount);
  }
  // The result of `make` for the schemas with this text, made once. Throws kInvalidArgument when `make` needs its own
  // result.
  template <typename Make>
  Json once(std::string text, const std::string& path, Make&& make) const;

 private:
  static constexpr int kMaxDepth = 64;  // of schemas whose merges depend on one another

  const Json* member(const Json& of, const std::string& key) const;

  const Json& root_;
  Budget* budget_;
  // The members by name, for large objects with many references to their members.
  mutable std::unordered_map<const Json*, std::unordered_map<std::string_view, const Json*>> members_;
  mutable std::unordered_map<std::string, const Json*> resolved_;
  mutable std::unordered_map<std::string, std::optional<Json>> known_;  // none: being made
  mutable int depth_ = 0;
};

template <typename Make>
Json SchemaDocument::once(std::string text, const std::string& path, Make&& make) const {
  spend(Work::kSchemas);
  spend(Work::kBytes, text.size());
  const auto [at, is_new] = known_.try_emplace(std::move(text));
  std::optional<Json>& made = at->second;  // the reference stays valid when the map grows
  if (!is_new) {
    if (!made) refuse_schema(path, "\"allOf\" or \"$ref\" leads back to itself");
    return *made;
  }
  if (depth_ >= kMaxDepth)
    refuse_schema(path, str("more than ", kMaxDepth, " schemas that are merged into one another"));
  ++depth_;
  made = make();
  --depth_;
  return *made;
}

}  // namespace oss::grammar
