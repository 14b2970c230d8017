// The strings of a schema: patterns, a format and a length, all at once.
#pragma once
#include <string>

#include "native/base/json.h"
#include "native/grammar/graph.h"
#include "native/grammar/json_text.h"
#include "native/grammar/regular.h"

namespace oss::grammar {

class StringSchemas {
 public:
  StringSchemas(Graph& graph, JsonText& json) : graph_(graph), json_(json), regular_(graph) {}

  // A string of this schema, in quotes. Throws kInvalidArgument, as all functions below.
  NodeId value(const Json& schema, const std::string& path, NodeId next);

  // The text between the quotes, as a language: for property names, which must meet further demands.
  Regular::Id language(const Json& schema, const std::string& path);
  // A string of this language, in quotes. `name` begins every message.
  NodeId of_language(Regular::Id language, const std::string& name, NodeId next);
  bool matches(Regular::Id language, const std::string& text, const std::string& name);
  Regular& regular() { return regular_; }

 private:
  NodeId with_length(const Json& schema, const std::string& path, NodeId next);

  Graph& graph_;
  JsonText& json_;
  Regular regular_;
};

// The value of a keyword that is a count, or `otherwise` if it is absent.
uint32_t count_of(const Json& schema, const char* keyword, uint32_t otherwise, const std::string& path);

}  // namespace oss::grammar
