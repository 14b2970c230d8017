// Whether two JSON schemas can agree on a value: a "oneOf" is compiled where no two of its branches can.
#pragma once
#include <optional>
#include <utility>

#include "native/grammar/schema_document.h"

namespace oss::grammar {

// The first two of these that may have a value in common, the later one first.
std::optional<std::pair<size_t, size_t>> first_overlap(const SchemaDocument& document, const Json::Array& schemas);

// Where each of these does nothing but list values: those that are in one list alone. A value in two of them is valid under
// no "oneOf".
std::optional<Json::Array> values_of_one(const SchemaDocument& document, const Json::Array& schemas);

}  // namespace oss::grammar
