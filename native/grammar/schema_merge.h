// Merges two JSON schemas into one that demands what both demand.
#pragma once
#include <string>

#include "native/grammar/schema_document.h"

namespace oss::grammar {

// The target of its "$ref", merged with the keywords beside it; the schema itself if it has no "$ref".
Json follow_references(const SchemaDocument& document, const Json& schema, const std::string& path);

// A schema with the demands of both, without "allOf" at its top. References at the top are followed; the two demands on
// one member or item become an "allOf". Throws kInvalidArgument, with the keyword, where one schema cannot express
// both.
Json merge_schemas(const SchemaDocument& document, const Json& a, const Json& b, const std::string& path);

}  // namespace oss::grammar
