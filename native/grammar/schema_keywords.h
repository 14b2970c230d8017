// Which keywords of JSON schema there are, and the older spellings of the same demands: what is compiled and merged is
// in one spelling, that of draft 2020-12.
#pragma once
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "native/base/json.h"

namespace oss::grammar {

// The further patterns of a string where several meet. No schema brings this name: it is not UTF-8.
inline constexpr std::string_view kFurtherPatterns = "pattern\xFF";

// Says nothing about which values are valid: all that is not of the vocabulary (JSON schema core, 6.5).
bool is_annotation(std::string_view keyword);
// The type whose values a keyword speaks of; empty: of any.
std::string_view type_of_keyword(std::string_view keyword);

[[noreturn]] void refuse_schema(const std::string& path, const std::string& why);

// The object without these members.
Json without(const Json& object, std::initializer_list<std::string_view> keywords);
// The texts of a list, or the one text that stands in its place; null: none.
std::vector<std::string> texts_of(const Json* list);
// What a schema demands of a member of an object; null: nothing.
const Json* schema_of_member(const Json& schema, const std::string& name);
// Some member is more than an annotation.
bool demands_anything(const Json& schema);
bool is_true_schema(const Json& schema);   // true, {}
bool is_false_schema(const Json& schema);  // false, {"not": {}}

// The same demands in one spelling; absent: it is in that spelling already. Nothing inside of it is looked at.
//   draft 7    "items" as a list, "additionalItems"
//   draft 4    "exclusiveMinimum" and "exclusiveMaximum" as booleans
//   OpenAPI    "nullable"
//   none       keywords that demand nothing as they stand: "uniqueItems": false, "if" without "then" and "else"
// Throws kInvalidArgument for keywords that demand what is not supported, by name.
std::optional<Json> in_one_spelling(const Json& schema, const std::string& path);

}  // namespace oss::grammar
