// The cost of compiling. Short schemas and patterns that could need much work are compiled with little work, or refused
// by name. The tests count work, not time.
#include <atomic>
#include <functional>
#include <memory>

#include "native/base/json.h"
#include "native/base/str.h"
#include "native/grammar/constraint.h"
#include "native/grammar/schema.h"
#include "test/native/check.h"

namespace oss::grammar {
namespace {

constexpr int kSmall = 512;
constexpr int32_t kEnd = 510;

std::string json_schema(const std::string& schema) {
  return R"({"kind":"text","format":{"type":"json_schema","schema":)" + json_string(schema) + "}}";
}
std::string pattern(const std::string& regex) {
  return R"({"kind":"text","format":{"type":"regex","pattern":)" + json_string(regex) + "}}";
}

std::string repeated(int count, const std::function<std::string(int)>& piece, const char* between = ",") {
  std::string out;
  for (int i = 0; i < count; ++i) out += (i > 0 ? between : "") + piece(i);
  return out;
}

// Definitions that name the next one twice.
std::string diamond(int levels, const std::function<std::string(const std::string&)>& twice, const std::string& root,
                    const std::string& last = R"({"type":"object","properties":{"x":{"type":"string"}}})") {
  const auto name = [](int i) { return str(R"({"$ref":"#/$defs/A)", i, "\"}"); };
  return "{\"$defs\":{" + repeated(levels, [&](int i) { return str("\"A", i, "\":", twice(name(i + 1))); }) +
         str(",\"A", levels, "\":", last, "},", root, "}");
}

struct Spent {
  uint64_t schemas, bytes, comparisons, nodes;
};

Spent compile(const std::string& schema) {
  Budget budget;
  Graph graph(&budget);
  JsonText json(graph);
  const Json root = parse_json(schema, "schema");
  SchemaCompiler compiler(graph, json, root);
  graph.finish(graph.add_rule(compiler.compile(Graph::kEndNode)), false);
  return {budget.spent(Work::kSchemas), budget.spent(Work::kBytes), budget.spent(Work::kComparisons),
          budget.spent(Work::kNodes)};
}

std::string refusal(const std::string& constraint) {
  try {
    compile_constraint(constraint, kSmall, {&kEnd, 1});
  } catch (const Error& error) {
    return str(code_name(error.code()), " ", error.what());
  }
  return "";
}

const auto kBoth = [](const std::string& ref) { return str(R"({"allOf":[)", ref, ",", ref, "]}"); };
const auto kMerged = [](const std::string& ref) {
  return str(R"({"type":"object","properties":{"l":{"allOf":[)", ref, R"(,{"minProperties":0}]}}})");
};
const auto kBeside = [](const std::string& ref) { return str(R"({"allOf":[)", ref, "],", ref.substr(1)); };

TEST("grammar budget: schemas that name others twice per level take work in proportion to their text") {
  const std::string start = R"("$ref":"#/$defs/A0")";
  const std::pair<const char*, std::string> schemas[] = {
      {"allOf", diamond(30, kBoth, start)},
      {"allOf beside $ref", diamond(25, kBeside, start)},
      {"allOf in a property", diamond(30, kBoth, R"("type":"object","properties":{"p":{"$ref":"#/$defs/A0"}})")},
      {"allOf at the root", diamond(30, kBoth, R"("allOf":[{"$ref":"#/$defs/A0"},{"$ref":"#/$defs/A1"}])")},
      {"two properties", diamond(
                             200,
                             [](const std::string& ref) {
                               return str(R"({"type":"object","properties":{"l":)", ref, R"(,"r":)", ref, "}}");
                             },
                             R"("allOf":[{"$ref":"#/$defs/A0"},{"$ref":"#/$defs/A0"},{"type":"object"}])")},
      {"two properties, merged with others",
       diamond(
           30,
           [](const std::string& ref) {
             return str(R"({"type":"object","properties":{"l":)", ref, R"(,"r":)", ref, "}}");
           },
           R"("allOf":[{"$ref":"#/$defs/A0"},{"type":"object","properties":{"l":{"$ref":"#/$defs/A2"}}}])")},
      {"anyOf", diamond(
                    100, [](const std::string& ref) { return str(R"({"anyOf":[)", ref, ",", ref, "]}"); }, start)},
      {"properties, each merged with something", diamond(300, kMerged, start)},
      {"a chain of references", diamond(
                                    100, [](const std::string& ref) { return ref; }, start)},
  };
  for (const auto& [name, schema] : schemas) {
    const Spent spent = compile(schema);
    const bool is_little = spent.schemas < 5'000 && spent.bytes < (2u << 20) && spent.nodes < 200'000;
    if (!is_little) {
      test::fail(__FILE__, __LINE__,
                 str(name, ": ", spent.schemas, " schemas, ", spent.bytes, " bytes, ", spent.nodes, " nodes"));
    }
  }
}

TEST("grammar budget: values that many branches list are compared as sets") {
  const auto branch = [](int i, const std::function<std::string(int)>& of) {
    return "{\"anyOf\":[" + repeated(60, [&](int k) { return of(i * 60 + k); }) + "]}";
  };
  const auto constant = [](int k) { return str("{\"const\":", k, "}"); };
  const Spent spent = compile("{\"oneOf\":[" + repeated(60, [&](int i) { return branch(i, constant); }) + "]}");
  CHECK(spent.comparisons < 20'000);
  CHECK(compile("{\"oneOf\":[" + repeated(2000, constant) + "]}").comparisons < 20'000);
  CHECK(refusal(json_schema("{\"oneOf\":[" + repeated(60, [&](int i) { return branch(i / 2, constant); }) + "]}"))
            .find("branches 0 and 1 may have values in common") != std::string::npos);
  // A property that all objects require distinguishes them, also through references. Other branches are compared in
  // pairs.
  const auto object = [](int k) {
    return str(R"({"type":"object","required":["k"],"properties":{"k":{"const":)", k, "}}}");
  };
  CHECK(compile("{\"oneOf\":[" + repeated(2000, object) + "]}").comparisons < 20'000);
  CHECK(compile("{\"oneOf\":[{\"type\":\"null\"}," + repeated(2000, object) + "]}").comparisons < 40'000);
  const std::string definitions = repeated(1000, [&](int k) { return str("\"d", k, "\":", object(k)); });
  const auto reference = [](int k) { return str(R"({"$ref":"#/$defs/d)", k, "\"}"); };
  CHECK(compile("{\"$defs\":{" + definitions + "},\"oneOf\":[" + repeated(1000, reference) + "]}").comparisons <
        20'000);
  const std::string twice = "{\"oneOf\":[" + repeated(300, object) + "," + object(7) + "]}";
  CHECK(refusal(json_schema(twice)).find("branches 7 and 300 may have values in common") != std::string::npos);
  const std::string all = "{\"oneOf\":[" + repeated(60, [&](int i) { return branch(i, object); }) + "]}";
  CHECK(refusal(json_schema(all)).find("too large to compile: more than 2000000 comparisons") != std::string::npos);
  // Two lists of thousands have few values in common.
  const auto list = [](int from) {
    return "{\"enum\":[" + repeated(8'000, [&](int k) { return str(from + k); }) + "]}";
  };
  CHECK(refusal(json_schema("{\"allOf\":[" + list(0) + "," + list(7'990) + "]}")).empty());
}

TEST("grammar budget: a pattern or a list of names that is too large is refused before it takes memory or time") {
  const auto part = [](int) { return std::string("(a|b)?"); };
  CHECK(refusal(pattern(repeated(100'000, part, ""))).find("more than 131072 characters or groups") !=
        std::string::npos);
  CHECK(refusal(pattern(repeated(
                    200'000, [](int) { return std::string("()"); }, "")))
            .find("more than 131072") != std::string::npos);
  const auto name = [](int k) { return str("\"p", k, "\""); };
  const std::string required = R"({"type":"object","required":[)" + repeated(40'000, name) + "]}";
  CHECK(refusal(json_schema(required)).find("more than 2048 properties") != std::string::npos);
  const std::string names = R"({"type":"object","propertyNames":{"enum":[)" + repeated(40'000, name) + "]}}";
  CHECK(refusal(json_schema(names)).find("more than 2048 properties") != std::string::npos);
}

// A shared budget, so that many tools together do not take seconds.
TEST("grammar budget: automata and character sets count by their memory, not by their nodes") {
  const std::string ahead = R"x({"type":"string","pattern":"^(?=.*[a-f]{3}1)(?!.*xy)[a-z0-9]{1,40}$"})x";
  CHECK(compile(ahead).nodes > 100'000);
  const auto property = [](int i) { return str("\"p", i, R"(":{"type":"string","pattern":"^[^x]{0,200}$"})"); };
  CHECK(compile("{\"type\":\"object\",\"properties\":{" + repeated(1000, property) + "}}").nodes > 1'000'000);
}

TEST("grammar budget: recursive schemas end") {
  const std::string node = R"({"type":"object","properties":{"v":{"type":"integer"},"next":{"$ref":"#/$defs/A"}}})";
  const std::string other = R"({"type":"object","properties":{"w":{"type":"string"},"next":{"$ref":"#/$defs/B"}}})";
  const std::string definitions = R"("$defs":{"A":)" + node + R"(,"B":)" + other + "}";
  CHECK(compile("{\"allOf\":[{\"$ref\":\"#/$defs/A\"},{\"$ref\":\"#/$defs/B\"}]," + definitions + "}").schemas < 200);
  CHECK(compile("{\"$ref\":\"#/$defs/A\",\"allOf\":[{\"$ref\":\"#/$defs/B\"}]," + definitions + "}").schemas < 200);
  for (
      const char* cyclic :
      {R"({"$ref":"#"})", R"({"allOf":[{"$ref":"#"}]})", R"({"allOf":[{"$ref":"#"},{"type":"object"}]})",
       R"({"anyOf":[{"$ref":"#"}]})", R"({"oneOf":[{"$ref":"#"}]})",
       R"({"$ref":"#/$defs/A","$defs":{"A":{"$ref":"#/$defs/B"},"B":{"$ref":"#/$defs/A"}}})",
       R"({"$ref":"#/$defs/A","$defs":{"A":{"$ref":"#/$defs/A","allOf":[{"type":"string"}]}}})",
       R"({"$ref":"#/$defs/A","$defs":{"A":{"$ref":"#/$defs/B","allOf":[{"$ref":"#/$defs/A"},{"type":"object"}]},"B":{"type":"object"}}})",
       R"({"type":"object","required":["a"],"properties":{"a":{"$ref":"#"}}})"}) {
    const std::string why = refusal(json_schema(cyclic));
    if (!why.starts_with("INVALID_ARGUMENT")) test::fail(__FILE__, __LINE__, str(cyclic, ": ", why));
  }
}

TEST("grammar budget: too large formats are refused by name") {
  const std::string property = R"(":{"type":"string"})";
  const auto properties = [&](int count) {
    return "{" + repeated(count, [&](int i) { return str("\"p", i, property); }) + "}";
  };
  const std::pair<std::string, const char*> cases[] = {
      {json_schema("{\"type\":\"object\",\"properties\":" + properties(30'000) + "}"), "more than 2048 properties"},
      {json_schema("{\"allOf\":[{\"properties\":" + properties(15'000) + "},{\"properties\":" + properties(15'000) +
                   "}]}"),
       "too large to compile"},
      {json_schema("{\"enum\":[" + repeated(40'000, [](int i) { return str("\"", i * 7919, "-value\""); }) + "]}"),
       "too large to compile: more than 131072 nodes"},
      {json_schema(std::string(100'000, '[') + std::string(100'000, ']')), "levels of nesting"},
      {json_schema(repeated(
                       100, [](int) { return std::string(R"({"items":)"); }, "") +
                   "true" + std::string(100, '}')),
       "levels of nesting"},
      {json_schema("{\"$defs\":{\"x\":\"" + std::string(2'000'000, 'x') + "\"}}"), "bytes of JSON"},
      {json_schema(diamond(5'000, kMerged, R"("$ref":"#/$defs/A0")")),
       "too large to compile: more than 20000 schemas that are compiled or merged"},
      {pattern(repeated(
                   40, [](int) { return std::string("("); }, "") +
               "a" +
               repeated(
                   40, [](int) { return std::string("{9000})"); }, "") +
               "{9000}"),
       ""},
  };
  for (const auto& [constraint, why] : cases) {
    const std::string told = refusal(constraint);
    if (told.find(why) == std::string::npos)
      test::fail(__FILE__, __LINE__, str("expected ", why, ", found ", told.substr(0, 200)));
  }
  // Levels of properties, as deep as JSON may be.
  const std::string deep = repeated(
                               20, [](int) { return std::string(R"({"properties":{"a":)"); }, "") +
                           "true" + repeated(20, [](int) { return std::string("}}"); }, "");
  CHECK(refusal(json_schema(deep)).empty());
  // Far deeper through references, each with another condition beside it: every level is a separate rule.
  CHECK(refusal(json_schema(diamond(
                    300,
                    [](const std::string& ref) {
                      return str(R"({"type":"object","properties":{"l":{"allOf":[)", ref,
                                 R"(,{"minProperties":1}]}}})");
                    },
                    R"("$ref":"#/$defs/A0")")))
            .empty());
}

TEST("grammar budget: all tools share one; schemas over it are relaxed where that is allowed") {
  const auto object = [](int tool, int k) {
    // Through "allOf" no distinguishing property is searched for, so all pairs are compared.
    return str(R"({"allOf":[{"type":"object","required":["k"],"properties":{"k":{"const":)", tool * 10'000 + k,
               "}}}]}");
  };
  const auto tool = [&](int i) {
    const std::string schema = "{\"oneOf\":[" + repeated(500, [&](int k) { return object(i, k); }) + "]}";
    return str(R"({"name":"t)", i, R"(","unsupported":"relax","parameters":)", json_string(schema), "}");
  };
  const std::string turn = R"({"kind":"harmony","toolChoice":"auto","tools":[)" + repeated(20, tool) + "]}";
  const int32_t end = 200002;
  const auto constraint = compile_constraint(turn, 201088, {&end, 1});
  CHECK(!constraint->relaxed.empty());
  CHECK(constraint->relaxed.size() < 20);
  CHECK_EQ(*constraint->relaxed.back().tool, "t19");
  CHECK(constraint->relaxed.back().reason.find("all schemas of the constraint together") != std::string::npos);
}

TEST("grammar budget: masks that take too long are refused") {
  for (const char* ambiguous :
       {".*[a-mA-M .,].{2000}", "(a|b|ab)*.{0,3000}[a-f]{2}.{1500}", "((a{1000}){1000}){1000}(a?){3000}"}) {
    std::string why;
    uint64_t tokens = 0;
    try {
      Matcher matcher(compile_constraint(pattern(ambiguous), kSmall, {&kEnd, 1}));
      for (; tokens < 3000; ++tokens) {
        const TokenMask& mask = matcher.mask(1'000'000);
        int32_t next = 0;
        while (!allows(mask, next)) ++next;
        for (int32_t token = next; token < kSmall && token < next + 40; ++token) {
          if (allows(mask, token)) next = token;
        }
        matcher.accept(next);
        if (matcher.done()) break;
      }
    } catch (const Error& error) {
      why = str(code_name(error.code()), " ", error.what());
    }
    if (!why.empty() && why.find("UNSUPPORTED") != 0) test::fail(__FILE__, __LINE__, str(ambiguous, ": ", why));
  }
}

TEST("grammar budget: a compilation ends soon after it is cancelled") {
  std::atomic<bool> cancelled{true};
  const std::string schema = diamond(30, kBoth, R"("$ref":"#/$defs/A0")");
  const std::string large = "{\"enum\":[" + repeated(5'000, [](int i) { return str("\"", i * 7919, "\""); }) + "]}";
  for (const std::string& constraint :
       {json_schema(large), json_schema("{\"anyOf\":[" + schema + "," + large + "]}")}) {
    try {
      compile_constraint(constraint, kSmall, {&kEnd, 1}, &cancelled);
      test::fail(__FILE__, __LINE__, "a cancelled compilation went on to its end");
    } catch (const Error& error) {
      CHECK(error.code() == Code::kCancelled);
    }
  }
}

}  // namespace
}  // namespace oss::grammar
