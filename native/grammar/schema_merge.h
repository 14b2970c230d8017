// JSON schemas as values: what two schemas demand together, and whether two can agree on a value.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "native/base/json.h"
#include "native/grammar/schema_keywords.h"

namespace oss::grammar {

// Finds what "$ref" names within one document.
class SchemaDocument {
 public:
  explicit SchemaDocument(const Json& root) : root_(root) {}
  const Json& root() const { return root_; }
  // Throws kInvalidArgument for what is not a pointer into this document.
  const Json& resolve(const std::string& reference, const std::string& path) const;

 private:
  const Json& root_;
};

// A schema that demands what both demand, without "allOf" at its top; references at the top are followed. Throws
// kInvalidArgument, naming the keyword, where that cannot be said in one schema.
Json merge_schemas(const SchemaDocument& document, const Json& a, const Json& b, const std::string& path);

// No value is valid under both; false where that cannot be told.
bool are_disjoint(const SchemaDocument& document, const Json& a, const Json& b);

}  // namespace oss::grammar
