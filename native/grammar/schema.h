// JSON schema → graph. What is written is always valid; of what would be valid, some is never written:
//
//   objects    properties in the order of their declaration, optional ones left out or not, then further ones where
//              "additionalProperties" is `true` or a schema, or where "properties" is absent. A name is written
//              as it is declared, a further one without escapes and different from all declared ones.
//   no "type"  the types that the other keywords speak of; any value when there are none
//   numbers    as json_text.h bounds them; within bounds without exponent
//   strings    with "pattern" or "format", escapes only where JSON needs them
//   oneOf      as anyOf, where the branches are seen to have no value in common: different types, values, or a property
//              that both require with different values
//
// Supported: type, enum, const, properties, required, additionalProperties, items, prefixItems, minItems, maxItems,
// minLength, maxLength, pattern (regex.h), format (date-time, date, time, email, uuid, ipv4, uri), minimum, maximum,
// exclusiveMinimum, exclusiveMaximum, multipleOf (integers), anyOf, oneOf, allOf, $ref within the schema, nullable.
// Annotations are ignored. Everything else is refused by name and path.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "native/base/json.h"
#include "native/grammar/graph.h"
#include "native/grammar/json_text.h"
#include "native/grammar/schema_merge.h"

namespace oss::grammar {

class SchemaCompiler {
 public:
  // All three outlive it.
  SchemaCompiler(Graph& graph, JsonText& json, const Json& root) : graph_(graph), json_(json), document_(root, graph.budget()) {}

  // A value of the root. Throws kInvalidArgument.
  NodeId compile(NodeId next) { return compiled(document_.root(), next); }
  // The same where the value must be an object.
  NodeId compile_object(NodeId next);

 private:
  static constexpr int kMaxDepth = 100;       // of schemas inside each other while compiling
  static constexpr size_t kMaxProperties = 2048;

  NodeId compiled(const Json& root, NodeId next);
  NodeId value(const Json& schema, const std::string& path, NodeId next);
  NodeId value_of(const Json& schema, const std::string& path, NodeId next);
  NodeId branches(const Json& schema, const std::string& keyword, const std::string& path, NodeId next);
  NodeId listed(const Json& schema, const std::string& path, NodeId next);
  NodeId of_type(const Json& schema, const std::string& type, const std::string& path, NodeId next);
  NodeId object(const Json& schema, const std::string& path, NodeId next);
  NodeId array(const Json& schema, const std::string& path, NodeId next);
  NodeId string(const Json& schema, const std::string& path, NodeId next);
  NodeId number(const Json& schema, bool integer, const std::string& path, NodeId next);
  RuleId rule_of(const Json& schema, const std::string& path);
  RuleId rule_of_target(const Json& target, const std::string& reference);

  Graph& graph_;
  JsonText& json_;
  SchemaDocument document_;
  // A rule whose schema is still to be compiled: not at once, for schemas may lead to one another a long way.
  struct Open {
    RuleId rule;
    Json schema;
    std::string path;
  };
  std::map<std::string, RuleId> rules_;          // by the schema's text
  std::map<const Json*, RuleId> rules_of_targets_;  // of references
  std::vector<Open> open_;
  int depth_ = 0;
};

}  // namespace oss::grammar
