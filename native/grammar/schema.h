// Compiles a JSON schema into a graph. All texts of the graph are valid. Some valid texts are left out:
//
//   objects    properties in the order of their declaration, optional ones left out or not. Further properties follow
//              where "additionalProperties" is `true` or a schema, where names match "patternProperties", or where
//              neither "properties" nor "patternProperties" is present. A name is written as it is declared. A further
//              name has only necessary escapes and differs from all declared ones. Names that "propertyNames" lists
//              count as declared.
//   no "type"  the types that the other keywords apply to; any value when there are none
//   numbers    as json_text.h bounds them; within bounds as number_range.h does, without exponent
//   strings    with "pattern" or "format", only necessary escapes; if an automaton of several demands would have more
//              than Regular::kMostStates states, "maxLength" and the counts of the pattern are lowered
//   oneOf      as anyOf, if the branches provably have no value in common: different types, different values, or a
//              property that both require with different values; of branches that only list values, the values that
//              are in one branch alone
//
// Supported: type, enum, const, properties, required, additionalProperties, patternProperties (kMaxPatterns),
// propertyNames, minProperties, maxProperties, items, prefixItems, minItems, maxItems, uniqueItems (of few listed
// values), minLength, maxLength, pattern (regex.h), format (formats.h), minimum, maximum, exclusiveMinimum,
// exclusiveMaximum, multipleOf, anyOf, oneOf, allOf, $ref within the schema, unevaluatedProperties and
// unevaluatedItems, nullable, and the equivalents of older drafts (schema_keywords.h).
//
// A format beside a pattern is an annotation, and so are unknown formats and names that are not JSON schema keywords.
// The other keywords are refused with their name and path, if they demand anything.
#pragma once
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "native/base/json.h"
#include "native/grammar/graph.h"
#include "native/grammar/json_text.h"
#include "native/grammar/number_range.h"
#include "native/grammar/schema_document.h"
#include "native/grammar/string_schema.h"

namespace oss::grammar {

class SchemaCompiler {
 public:
  // All three must outlive this object.
  SchemaCompiler(Graph& graph, JsonText& json, const Json& root)
      : graph_(graph), json_(json), document_(root, graph.budget()), strings_(graph, json) {}

  // A value of the root schema. Throws kInvalidArgument.
  NodeId compile(NodeId next) { return compiled(document_.root(), next); }
  // The same, restricted to objects.
  NodeId compile_object(NodeId next);

 private:
  static constexpr int kMaxDepth = 100;  // of nested schemas while compiling
  static constexpr size_t kMaxProperties = 2048;
  static constexpr size_t kMaxPatterns = 4;     // of "patternProperties": a name may match any of them at once
  static constexpr size_t kMaxLevels = 16'384;  // properties times the number that may precede them

  struct Members;
  struct Kind;
  struct Range {
    uint32_t min, max;
  };

  NodeId compiled(const Json& root, NodeId next);
  NodeId value(const Json& schema, const std::string& path, NodeId next);
  NodeId value_of(const Json& schema, const std::string& path, NodeId next);
  NodeId branches(const Json& schema, const std::string& keyword, const std::string& path, NodeId next);
  NodeId listed(const Json& schema, const std::string& path, NodeId next);
  NodeId of_type(const Json& schema, const std::string& type, const std::string& path, NodeId next);
  NodeId object(const Json& schema, const std::string& path, NodeId next);
  NodeId array(const Json& schema, const std::string& path, NodeId next);
  NodeId distinct(const Json& schema, uint32_t min, uint32_t max, const std::string& path, NodeId next);
  NodeId number(const Json& schema, bool integer, const std::string& path, NodeId next);
  NumberBounds bounds_of(const Json& schema, const std::string& path) const;
  Decimal step_of(const Json& schema, const std::string& path) const;
  std::vector<Json> listed_values(const Json& schema, const std::string& path);
  bool fits(const Json& value, const Json& schema, const std::string& path);
  std::optional<std::vector<std::string>> few_values(const Json& items, const std::string& path);
  Json merged(const Json& schema, const Json& rest, const Json& part, const std::string& path) const;
  Members members_of(const Json& schema, const std::string& path);
  Members declared_members(const Json& schema, const std::string& path);
  Regular::Id restrict_names(const Json& names, Members& members, const std::string& path);
  std::vector<Kind> kinds_of_names(const Json& patterns, Regular::Id allowed, Members& members,
                                   const std::string& path);
  NodeId end_of_object(const Members& members, uint32_t written, Range count, NodeId next);
  RuleId rule_of(const Json& schema, const std::string& path);
  RuleId rule_of_target(const Json& target, const std::string& reference);

  Graph& graph_;
  JsonText& json_;
  SchemaDocument document_;
  StringSchemas strings_;
  // A rule whose schema is not compiled yet. Compiling it at once could recurse deeply, because schemas can form long
  // chains.
  struct Open {
    RuleId rule;
    Json schema;
    std::string path;
  };
  std::map<std::string, RuleId> rules_;             // by the schema's text
  std::map<std::string, RuleId> numbers_;           // by type, bounds and step
  std::map<const Json*, RuleId> rules_of_targets_;  // of the targets of references
  std::vector<Open> open_;
  int depth_ = 0;
};

}  // namespace oss::grammar
