// The objects of a schema (schema.h): their possible members and the number of members.
#include <algorithm>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include "native/base/str.h"
#include "native/grammar/regex.h"
#include "native/grammar/schema.h"
#include "native/grammar/schema_merge.h"

namespace oss::grammar {

struct SchemaCompiler::Members {
  struct Property {
    std::string name;
    Json schema;
    bool required;
    bool is_own;  // false if the schema is the one of further members
  };
  std::vector<Property> declared;                  // in the order of writing
  std::unordered_map<std::string, size_t> places;  // in `declared`, by name
  std::optional<Json> more;                        // the schema of further members; absent: there are none
  std::optional<RuleId> open;                      // a further member: its name, a colon and its value

  Property* find(const std::string& name) {
    const auto at = places.find(name);
    return at == places.end() ? nullptr : &declared[at->second];
  }
  // Checks the limit before the work.
  void declare(Property property, const std::string& path) {
    if (declared.size() >= kMaxProperties) refuse_schema(path, str("more than ", kMaxProperties, " properties"));
    places.emplace(property.name, declared.size());
    declared.push_back(std::move(property));
  }
};

// Further members whose names belong to one language.
struct SchemaCompiler::Kind {
  Regular::Id names;
  Json schema;
};

SchemaCompiler::Members SchemaCompiler::declared_members(const Json& schema, const std::string& path) {
  Members out;
  const Json *declared = schema.find("properties"), *required = schema.find("required");
  const Json* more = schema.find("additionalProperties");
  const bool says_nothing = declared == nullptr && required == nullptr && schema.find("patternProperties") == nullptr;
  if (more != nullptr) {
    out.more = *more;
  } else if (says_nothing || (declared == nullptr && schema.find("propertyNames"))) {
    out.more = Json(true);
  }
  if (declared != nullptr) {
    if (!declared->object()) refuse_schema(path, "\"properties\" is not an object");
    for (const auto& [name, of] : *declared->object()) out.declare({name, of, false, true}, path);
  }
  if (required != nullptr) {
    if (!required->array()) refuse_schema(path, "\"required\" is not an array");
    for (const Json& name : *required->array()) {
      if (!name.string()) refuse_schema(path, "\"required\" is not an array of strings");
      if (Members::Property* known = out.find(*name.string())) {
        known->required = true;
      } else {
        out.declare({*name.string(), more != nullptr ? *more : Json(true), true, false}, path);
      }
    }
  }
  if (out.more && is_false_schema(*out.more)) out.more = std::nullopt;
  return out;
}

// Removes properties that "propertyNames" excludes; returns the language of further names.
Regular::Id SchemaCompiler::restrict_names(const Json& given, Members& members, const std::string& path) {
  const std::string at = path + "/propertyNames";
  // Patterns must not bring such a name back.
  const auto refuse = [](Members::Property& property) {
    property.schema = Json(false);
    property.is_own = true;
  };
  const Json names = merge_schemas(document_, given, Json(Json::Object{{"type", Json(std::string("string"))}}), at);
  for (const char* keyword : {"anyOf", "oneOf"}) {
    if (names.find(keyword)) refuse_schema(at, str(quote(keyword), " of names is not supported"));
  }
  if (names.object() && !names.find("enum") && !names.find("const")) {
    const Regular::Id language = strings_.language(names, at);
    for (Members::Property& property : members.declared) {
      if (!strings_.matches(language, property.name, at)) refuse(property);
    }
    return language;
  }
  // Listed names count as declared ones.
  std::vector<std::string> listed;
  if (names.object()) {
    for (const Json& name : listed_values(names, at)) listed.push_back(*name.string());
  }
  for (const std::string& name : listed) {
    if (members.more && !members.find(name)) members.declare({name, *members.more, false, false}, path);
  }
  const std::unordered_set<std::string_view> admitted(listed.begin(), listed.end());
  for (Members::Property& property : members.declared) {
    if (!admitted.contains(property.name)) refuse(property);
  }
  members.more = std::nullopt;
  return Regular::kNothing;
}

// One kind of member for each combination of matching name patterns. Declared members are merged with the schemas of
// the patterns that they match.
std::vector<SchemaCompiler::Kind> SchemaCompiler::kinds_of_names(const Json& patterns, Regular::Id allowed,
                                                                 Members& members, const std::string& path) {
  if (!patterns.object()) refuse_schema(path, "\"patternProperties\" is not an object");
  const Json::Object& all = *patterns.object();
  if (all.size() > kMaxPatterns)
    refuse_schema(path, str("more than ", kMaxPatterns, " \"patternProperties\" are not supported"));
  const std::string name = str("schema ", path, ": \"patternProperties\"");
  std::vector<Regular::Id> languages;
  for (const auto& [pattern, of] : all) {
    languages.push_back(regex_language(strings_.regular(), pattern, Anchoring::kSearch, name));
  }
  for (Members::Property& property : members.declared) {
    for (size_t i = 0; i < all.size(); ++i) {
      if (!strings_.matches(languages[i], property.name, path)) continue;
      property.schema =
          property.is_own ? merge_schemas(document_, property.schema, all[i].second, path) : all[i].second;
      property.is_own = true;
    }
  }
  std::vector<Kind> out;
  for (size_t chosen = 0; chosen < size_t(1) << all.size(); ++chosen) {
    std::vector<Regular::Id> demands = {allowed};
    Json of = chosen == 0 ? members.more.value_or(Json(false)) : Json(true);
    for (size_t i = 0; i < all.size(); ++i) {
      const bool is_chosen = chosen >> i & 1;
      demands.push_back(is_chosen ? languages[i] : strings_.regular().negated(languages[i]));
      if (is_chosen) of = merge_schemas(document_, of, all[i].second, path + "/patternProperties");
    }
    const Regular::Id names = strings_.regular().both(std::move(demands));
    if (!is_false_schema(of) && names != Regular::kNothing) out.push_back({names, std::move(of)});
  }
  return out;
}

SchemaCompiler::Members SchemaCompiler::members_of(const Json& schema, const std::string& path) {
  Members out = declared_members(schema, path);
  const Json *names = schema.find("propertyNames"), *patterns = schema.find("patternProperties");
  const Regular::Id allowed = names != nullptr ? restrict_names(*names, out, path) : Regular::kAnything;
  std::vector<Kind> kinds;
  if (patterns != nullptr) {
    kinds = kinds_of_names(*patterns, allowed, out, path);
  } else if (out.more) {
    kinds.push_back({allowed, *out.more});
  }
  std::vector<NodeId> ways;
  for (const auto& [language, of] : kinds) {
    const NodeId behind = json_.colon(value(of, path + "/additionalProperties", Graph::kEndNode));
    if (language == Regular::kAnything) {
      std::vector<std::string> taken;
      for (const Members::Property& property : out.declared) taken.push_back(property.name);
      ways.push_back(json_.other_name(taken, behind));
      continue;
    }
    std::vector<Regular::Id> taken;
    for (const Members::Property& property : out.declared) taken.push_back(strings_.regular().text(property.name));
    const Regular::Id others = strings_.regular().negated(strings_.regular().either(std::move(taken)));
    ways.push_back(
        strings_.of_language(strings_.regular().both({language, others}), str("schema ", path, ": names"), behind));
  }
  if (!ways.empty()) out.open = graph_.add_rule(graph_.any_of(std::move(ways)));
  return out;
}

// Further members and the end, after `written` members. Further members can supply at most one of a minimum, because
// they may repeat a name, which counts once.
NodeId SchemaCompiler::end_of_object(const Members& members, uint32_t written, Range count, NodeId next) {
  const NodeId close = json_.blanks(graph_.text("}", next));
  const uint32_t needed = count.min > written ? count.min - written : 0;
  const uint32_t room = count.max == kUnlimited ? kUnlimited : count.max - written;
  if (!members.open || room == 0) return needed == 0 ? close : Graph::kNowhere;
  if (needed > 1) return Graph::kNowhere;
  const RuleId follower = graph_.add_rule(graph_.text(",", json_.blanks(graph_.call(*members.open, Graph::kEndNode))));
  if (written > 0) return graph_.repeat(follower, needed, room, close);
  const NodeId rest = graph_.repeat(follower, 0, room == kUnlimited ? room : room - 1, close);
  const NodeId first = json_.blanks(graph_.call(*members.open, rest));
  return needed == 0 ? graph_.any_of({first, close}) : first;
}

// Built from the back, with a node for each count of preceding properties: none or some, and more counts where the
// number of properties is bounded. The last count stands for itself and all higher ones.
NodeId SchemaCompiler::object(const Json& schema, const std::string& path, NodeId next) {
  const Range count = {count_of(schema, "minProperties", 0, path), count_of(schema, "maxProperties", kUnlimited, path)};
  const bool is_free = std::none_of(schema.object()->begin(), schema.object()->end(), [](const auto& member) {
    return member.first != "type" && type_of_keyword(member.first) == "object";
  });
  if (is_free) return json_.any_object(next);
  const Members members = members_of(schema, path);
  const auto& declared = members.declared;
  if (members.open && count.min > declared.size() + 1) {
    refuse_schema(path, "\"minProperties\" of more than what is declared and one is not supported");
  }
  if (count.min > count.max) return Graph::kNowhere;
  const auto told_apart = std::max({count.min, count.max == kUnlimited ? 0 : count.max, 1u});
  const uint32_t most = std::max(1u, std::min(told_apart, uint32_t(declared.size())));
  if (size_t(most) * declared.size() > kMaxLevels) {
    refuse_schema(path, "\"minProperties\" and \"maxProperties\" beside so many properties are not supported");
  }
  std::vector<NodeId> here;  // by the number written
  for (uint32_t written = 0; written <= most; ++written) {
    here.push_back(written > count.max ? Graph::kNowhere : end_of_object(members, written, count, next));
  }
  for (auto property = declared.rbegin(); property != declared.rend(); ++property) {
    const std::string at = str(path, "/properties/", property->name);
    // If only one count follows, all counts before it share one way to write the value.
    std::optional<RuleId> rule;
    if (most > 1) rule = graph_.add_rule(value(property->schema, at, Graph::kEndNode));
    std::vector<NodeId> member(most + 1, Graph::kNowhere);  // by the number written after it
    for (uint32_t behind = 1; behind <= most; ++behind) {
      const NodeId of = rule ? graph_.call(*rule, here[behind]) : value(property->schema, at, here[behind]);
      member[behind] = graph_.text(json_string(property->name), json_.colon(of));
    }
    std::vector<NodeId> before;
    for (uint32_t written = 0; written <= most; ++written) {
      NodeId write = written < count.max ? member[std::min(written + 1, most)] : Graph::kNowhere;
      if (write != Graph::kNowhere) write = json_.blanks(write);
      if (written > 0 && write != Graph::kNowhere) write = graph_.text(",", write);
      before.push_back(property->required ? write : graph_.any_of({write, here[written]}));
    }
    here = std::move(before);
  }
  return graph_.text("{", here[0]);
}

}  // namespace oss::grammar
