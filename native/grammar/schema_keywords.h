// The keywords of JSON schema, and older spellings of the same demands. The compiler and the merge see only one
// spelling, draft 2020-12.
#pragma once
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "native/base/json.h"

namespace oss::grammar {

// The additional patterns of a string with several. No schema can contain this name, because it is not UTF-8.
inline constexpr std::string_view kFurtherPatterns = "pattern\xFF";

// Whether the keyword has no effect on validity: everything outside of the vocabulary (JSON schema core, 6.5).
bool is_annotation(std::string_view keyword);
// The type of value that a keyword applies to; empty: any.
std::string_view type_of_keyword(std::string_view keyword);

[[noreturn]] void refuse_schema(const std::string& path, const std::string& why);

// The object without these members.
Json without(const Json& object, std::initializer_list<std::string_view> keywords);
// The texts of a list, or the single text in its place; null: none.
std::vector<std::string> texts_of(const Json* list);
// The schema that applies to a member of an object; null: none.
const Json* schema_of_member(const Json& schema, const std::string& name);
// Whether some member is more than an annotation.
bool demands_anything(const Json& schema);
bool is_true_schema(const Json& schema);   // true, {}
bool is_false_schema(const Json& schema);  // false, {"not": {}}

// The same demands in one spelling; absent when the schema already has it. Nested schemas are not changed.
//   draft 7    "items" as a list, "additionalItems"
//   draft 4    "exclusiveMinimum" and "exclusiveMaximum" as booleans
//   OpenAPI    "nullable"
//   none       keywords without effect: "uniqueItems": false, "if" without "then" and "else"
// Throws kInvalidArgument, with the name, for keywords whose demands are not supported.
std::optional<Json> in_one_spelling(const Json& schema, const std::string& path);

}  // namespace oss::grammar
