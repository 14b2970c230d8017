// JSON schemas as values: which keywords there are, what two schemas demand together, and whether two can agree on a value.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "native/base/json.h"

namespace oss::grammar {

// Says nothing about which values are valid.
bool is_annotation(std::string_view keyword);

[[noreturn]] void refuse_schema(const std::string& path, const std::string& why);

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

// The object without these members.
Json without(const Json& object, std::initializer_list<std::string_view> keywords);
// Some member is more than an annotation.
bool demands_anything(const Json& schema);

}  // namespace oss::grammar
