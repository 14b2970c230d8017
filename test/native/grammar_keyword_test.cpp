// Keywords of schemas from SDKs: names and counts of properties, tuples, annotations, and combinations of them.
#include "test/native/grammar_harness.h"

namespace oss::grammar {
namespace {

void refused(const std::string& schema, const char* why) {
  CHECK_THROWS(Code::kInvalidArgument, why, compiled(json_schema(schema)));
}

TEST("grammar: names of properties") {
  for (const char* names :
       {R"({"type":"string"})", "true", "{}", R"({"type":"string","description":"a key"})", R"({"title":"t"})"}) {
    check({json_schema(
               str(R"({"type":"object","propertyNames":)", names, R"(,"additionalProperties":{"type":"number"}})")),
           {"{}", R"({"a":1,"b":2})"},
           {R"({"a":"x"})"}});
  }
  check(
      {json_schema(R"({"type":"object","propertyNames":{"pattern":"^k_"},"additionalProperties":{"type":"integer"}})"),
       {"{}", R"({"k_":1})", R"({"k_a":1,"k_b":2})"},
       {R"({"a":1})", R"({"k_a":"x"})"}});
  check(
      {json_schema(
           R"({"type":"object","properties":{"k_a":{"type":"null"},"b":{}},"propertyNames":{"pattern":"^k_","maxLength":4},
                         "additionalProperties":{"type":"integer"}})"),
       {R"({"k_a":null})", R"({"k_a":null,"k_b":2})", R"({"k_bc":2})"},
       {R"({"k_a":1})", R"({"b":1})", R"({"k_bcd":1})", R"({"k_b":1,"k_a":null})"}});
  check(
      {json_schema(
           R"({"type":"object","propertyNames":{"type":"string","enum":["a","b"]},"additionalProperties":{"type":"number"},"required":["a"]})"),
       {R"({"a":1})", R"({"a":1,"b":2})"},
       {"{}", R"({"b":2})", R"({"a":1,"c":2})"}});
  check({json_schema(R"({"type":"object","propertyNames":{"minLength":2}})"), {"{}", R"({"ab":[1]})"}, {R"({"a":1})"}});
  check({json_schema(R"({"type":"object","propertyNames":false})"), {"{}"}, {R"({"a":1})"}});
  check({json_schema(R"({"type":"object","propertyNames":{"format":"uuid"}})"),
         {R"({"123e4567-e89b-12d3-a456-426614174000":1})"},
         {R"({"a":1})"}});
  refused(R"({"type":"object","properties":{"x":{}},"required":["x"],"propertyNames":{"pattern":"^k"}})",
          "no text satisfies");
  refused(R"({"type":"object","propertyNames":{"anyOf":[{"pattern":"a"},{"pattern":"b"}]}})",
          "#/propertyNames: \"anyOf\" of names");
  refused(R"({"type":"object","propertyNames":{"not":{"const":"a"}}})", "the keyword \"not\"");
}

TEST("grammar: properties by patterns") {
  check({json_schema(R"({"type":"object","patternProperties":{"^k_":{"type":"number"}}})"),
         {"{}", R"({"k_a":1})"},
         {R"({"k_a":"x"})", R"({"a":1})"}});
  check({json_schema(R"({"type":"object","patternProperties":{"^a":{"minimum":0,"type":"integer"},"z$":{"maximum":9}},
                         "properties":{"ab":{"type":"number"}},"additionalProperties":{"type":"null"}})"),
         {R"({"ab":3})", R"({"ax":77,"az":7,"xz":5,"m":null})"},
         {R"({"ab":-3})", R"({"ab":1.5})", R"({"az":10})", R"({"m":1})", R"({"ax":null})"}});
  check({json_schema(R"({"type":"object","patternProperties":{"^x":false},"additionalProperties":true})"),
         {R"({"a":1})"},
         {R"({"xa":1})"}});
  check({json_schema(R"({"type":"object","patternProperties":{"^a$":{"type":"integer"}},"required":["a"]})"),
         {R"({"a":1})"},
         {"{}", R"({"a":null})"}});
  check({json_schema(R"({"type":"object","patternProperties":{}})"), {R"({"a":1})"}, {"[]"}});
}

TEST("grammar: how many properties") {
  check({json_schema(R"({"type":"object","additionalProperties":{"type":"null"},"minProperties":1,"maxProperties":2})"),
         {R"({"a":null})", R"({"a":null,"b":null})"},
         {"{}", R"({"a":null,"b":null,"c":null})"}});
  check({json_schema(
             R"({"type":"object","properties":{"a":{"const":1},"b":{"const":2},"c":{"const":3}},"minProperties":2})"),
         {R"({"a":1,"b":2})", R"({"a":1,"c":3})", R"({"b":2,"c":3})", R"({"a":1,"b":2,"c":3})"},
         {"{}", R"({"a":1})", R"({"c":3})"}});
  check(
      {json_schema(
           R"({"type":"object","properties":{"a":{"const":1},"b":{"const":2},"c":{"const":3}},"required":["b"],"maxProperties":2})"),
       {R"({"b":2})", R"({"a":1,"b":2})", R"({"b":2,"c":3})"},
       {"{}", R"({"a":1})", R"({"a":1,"b":2,"c":3})"}});
  check(
      {json_schema(
           R"({"type":"object","properties":{"a":{"const":1}},"additionalProperties":{"const":0},"minProperties":2})"),
       {R"({"a":1,"b":0})", R"({"a":1,"b":0,"c":0})"},
       {R"({"a":1})", R"({"b":0,"b":0})", R"({"b":0})"}});
  check({json_schema(R"({"type":"object","maxProperties":0})"), {"{}"}, {R"({"a":1})"}});
  refused(R"({"type":"object","minProperties":2})", "\"minProperties\" of more than");
  refused(R"({"type":"object","properties":{"a":{}},"minProperties":2})", "no text satisfies");
}

TEST("grammar: tuples of draft 7") {
  check({json_schema(
             R"({"type":"array","items":[{"const":"a"},{"type":"integer"}],"additionalItems":false,"minItems":2})"),
         {R"(["a",1])"},
         {R"(["a"])", R"(["a",1,2])", R"([1,"a"])"}});
  check({json_schema(R"({"type":"array","items":[{"const":"a"}],"additionalItems":{"type":"null"}})"),
         {"[]", R"(["a",null])"},
         {R"(["a",1])"}});
  check({json_schema(R"({"type":"array","items":[{"const":"a"}]})"), {R"(["a",1,"x"])"}, {R"(["b"])"}});
  check({json_schema(R"({"type":"array","items":{"type":"null"},"additionalItems":false})"), {"[null]"}, {"[1]"}});
}

TEST("grammar: distinct items") {
  check({json_schema(R"({"type":"array","items":{"enum":["a","b",3]},"uniqueItems":true})"),
         {"[]", R"(["b","a"])", R"([3, "a", "b"])"},
         {R"(["a","a"])", R"(["a","b",3,"a"])"}});
  check({json_schema(R"({"type":"array","items":{"type":"boolean"},"uniqueItems":true,"minItems":2})"),
         {"[true,false]"},
         {"[true]", "[true,true]"}});
  check(
      {json_schema(
           R"({"type":"array","items":{"$ref":"#/$defs/e"},"uniqueItems":true,"maxItems":2,"$defs":{"e":{"enum":[1,2,3]}}})"),
       {"[3,1]"},
       {"[3,1,2]", "[3,3]"}});
  check({json_schema(R"({"type":"array","items":{"type":"string"},"uniqueItems":false})"), {R"(["a","a"])"}, {}});
  check({json_schema(R"({"type":"array","items":{"type":"string"},"uniqueItems":true,"maxItems":1})"),
         {R"(["a"])"},
         {R"(["a","b"])"}});
  refused(R"({"type":"array","items":{"$ref":"#/$defs/a"},"uniqueItems":true,"$defs":{"a":{"$ref":"#/$defs/a"}}})",
          "leads back to itself");
  refused(R"({"type":"array","items":{"type":"string"},"uniqueItems":true})",
          "schema #: the keyword \"uniqueItems\" is not supported");
}

TEST("grammar: unknown keywords are annotations, and keywords without a condition have no effect") {
  check(
      {json_schema(
           R"({"type":"string","x-note":1,"discriminator":{"propertyName":"t"},"xml":{},"externalDocs":{},"units":"m","$anchor":"a",
                         "contentSchema":{"not":{}},"uniqueItems":true,"minimum":5})"),
       {R"("a")"},
       {"1"}});
  check(
      {json_schema(
           R"({"type":"object","properties":{"a":{"type":"null"}},"required":["a"],"dependentRequired":{},"unevaluatedProperties":false,
                         "patternProperties":{},"minProperties":0,"if":true,"not":false})"),
       {R"({"a":null})"},
       {"{}", R"({"a":null,"b":1})"}});
  check({json_schema(R"({"oneOf":[{"type":"string"},{"type":"number"}],"discriminator":{"propertyName":"t"}})"),
         {R"("a")", "1"},
         {"null"}});
  check({json_schema(R"({"type":"object","properties":{"a":{"not":{}},"b":{"type":"null"}}})"),
         {"{}", R"({"b":null})"},
         {R"({"a":1})"}});
  refused(R"({"not":{}})", "no text satisfies");
  for (const char* keyword : {R"("if":{},"then":{})", R"("contains":{})", R"("dependentRequired":{"a":["b"]})",
                              R"("dependentSchemas":{"a":{}})", R"("dependencies":{"a":["b"]})",
                              R"("$dynamicRef":"#a")", R"("not":{"type":"null"})"}) {
    refused(str("{", keyword, "}"), "schema #: the keyword");
  }
}

TEST("grammar: unevaluated members are those that no part mentions") {
  check(
      {json_schema(
           R"({"allOf":[{"properties":{"a":{"const":1}}},{"type":"object","properties":{"b":{"const":2}}}],"unevaluatedProperties":false})"),
       {"{}", R"({"a":1,"b":2})"},
       {R"({"c":1})"}});
  check(
      {json_schema(
           R"({"anyOf":[{"properties":{"a":{"const":1}},"required":["a"]},{"required":["b"]}],"type":"object","unevaluatedProperties":{"type":"null"}})"),
       {R"({"a":1,"x":null})", R"({"b":null})"},
       {R"({"a":1,"x":1})", "{}"}});
}

TEST("grammar: nullable") {
  check({json_schema(R"({"type":"string","nullable":true})"), {"null", R"("a")"}, {"1"}});
  check({json_schema(R"({"allOf":[{"$ref":"#/$defs/a"}],"nullable":true,"$defs":{"a":{"type":"integer"}}})"),
         {"null", "1"},
         {R"("a")"}});
  check({json_schema(R"({"allOf":[{"type":"string","nullable":true},{"type":"string","maxLength":2}]})"),
         {R"("ab")"},
         {"null", R"("abc")"}});
  check({json_schema(R"({"allOf":[{"type":"string","nullable":true},{"type":["integer","null"]}]})"),
         {"null"},
         {R"("ab")", "1"}});
  check({json_schema(
             R"({"allOf":[{"type":"object","nullable":true,"properties":{}},{"type":["array","null"],"maxItems":1}]})"),
         {"null"},
         {"[]", "{}"}});
  check({json_schema(R"({"type":"string","nullable":true,"enum":[null]})"), {"null"}, {R"("a")"}});
  check({json_schema(R"({"type":"string","nullable":false})"), {R"("a")"}, {"null"}});
}

TEST("grammar: items of several parts, place by place") {
  check(
      {json_schema(
           R"({"allOf":[{"type":"array","items":{"type":"number"}},{"type":"array","prefixItems":[{"type":"integer"},{"minimum":5}],"minItems":2,"maxItems":2}]})"),
       {"[1,5.5]"},
       {"[1.5,5]", R"([1,"a"])", "[1,4]", "[1]"}});
  check(
      {json_schema(
           R"({"allOf":[{"type":"array","items":{"type":"integer"},"minItems":1},{"type":"array","prefixItems":[{"type":["integer","string"]}],"items":{"maximum":3}}]})"),
       {"[9]", "[9,3]"},
       {R"(["a"])", "[9,4]"}});
  check(
      {json_schema(
           R"({"allOf":[{"type":"array","items":[{"type":"integer"}],"additionalItems":false},{"type":"array","items":[{"minimum":3},{"type":"null"}]}]})"),
       {"[]", "[3]"},
       {"[2]", "[3,null]"}});
  refused(
      R"({"allOf":[{"type":"array","items":{"type":"number"}},{"type":"array","prefixItems":[{"type":"null"}],"minItems":1}]})",
      "no text satisfies");
}

}  // namespace
}  // namespace oss::grammar
