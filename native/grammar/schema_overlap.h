// Decides whether two JSON schemas can have a value in common. A "oneOf" compiles only if no two of its branches can.
#pragma once
#include <optional>
#include <utility>

#include "native/grammar/schema_document.h"

namespace oss::grammar {

// The first two schemas that may have a value in common, the later one first.
std::optional<std::pair<size_t, size_t>> first_overlap(const SchemaDocument& document, const Json::Array& schemas);

// For schemas that only list values: the values that are in one list alone. A value in two lists is invalid under
// "oneOf".
std::optional<Json::Array> values_of_one(const SchemaDocument& document, const Json::Array& schemas);

}  // namespace oss::grammar
