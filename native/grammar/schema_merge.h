// JSON schemas as values: what two schemas demand together.
#pragma once
#include <string>

#include "native/grammar/schema_document.h"

namespace oss::grammar {

// The schema behind its "$ref", with what stands beside it; itself without one.
Json follow_references(const SchemaDocument& document, const Json& schema, const std::string& path);

// A schema that demands what both demand, without "allOf" at its top; references at the top are followed, and what both
// demand of one member or item is left as an "allOf". Throws kInvalidArgument, naming the keyword, where that cannot be said
// in one schema.
Json merge_schemas(const SchemaDocument& document, const Json& a, const Json& b, const std::string& path);

}  // namespace oss::grammar
