// Strings of a schema with several conditions, and look-ahead.
#include "test/native/grammar_harness.h"

namespace oss::grammar {
namespace {

std::string string_schema(const std::string& members) { return json_schema(R"({"type":"string",)" + members + "}"); }

TEST("grammar: a pattern beside a length") {
  check({string_schema(R"("pattern":"^[a-z]+$","minLength":2,"maxLength":4)"),
         {R"("ab")", R"("abcd")"},
         {R"("a")", R"("abcde")", R"("AB")"}});
  check({string_schema(R"("pattern":"^[a-z]{3,9}$","minLength":2,"maxLength":4)"),
         {R"("abc")", R"("abcd")"},
         {R"("ab")", R"("abcde")"}});
  check({string_schema(R"("pattern":"x","minLength":3,"maxLength":5)"),
         {R"("axb")", R"("xxxxx")", "\"\xC3\xA9x\xC3\xA9\""},
         {R"("ax")", R"("abc")", R"("axbcde")"}});
  check({string_schema(R"("pattern":"^(foo|bar)+$","maxLength":7)"),
         {R"("foo")", R"("foobar")"},
         {R"("foobarfoo")", R"("fo")"}});
  check({string_schema(R"("pattern":"^\\S.*\\S$","minLength":2,"maxLength":200)"),
         {"\"" + std::string(200, 'a') + "\"", R"("a b")"},
         {"\"" + std::string(201, 'a') + "\"", R"(" ab")"}});
  check({string_schema(R"("pattern":"^[\"\\\\]+$","maxLength":2)"), {R"("\"\\")"}, {R"("\"\\\"")", R"(""")"}});
  // A lower maximum where an automaton of both would be too large, but never a higher one.
  check({string_schema(R"("pattern":"^(ab|c)*d$","maxLength":100000)"), {R"("abcd")"}, {R"("ab")"}});
  CHECK_THROWS(Code::kInvalidArgument, "no text satisfies",
               compiled(string_schema(R"("pattern":"^a$","minLength":2)")));
  CHECK_THROWS(Code::kInvalidArgument, "takes too many states",
               compiled(string_schema(R"("pattern":"^(ab|c)*d$","minLength":100000)")));
  CHECK_THROWS(Code::kInvalidArgument, "takes too many states",
               compiled(string_schema(R"("pattern":"a.{30}$","maxLength":90)")));
}

TEST("grammar: several patterns of one string") {
  check({json_schema(R"({"type":"string","allOf":[{"pattern":"^ab.*"},{"pattern":".*yz$"}]})"),
         {R"("abyz")", R"("ab-yz")"},
         {R"("ab")", R"("yz")", R"("abyz!")"}});
  check({json_schema(R"({"allOf":[{"type":"string","pattern":"a"},{"pattern":"b"},{"pattern":"c"},{"maxLength":4}]})"),
         {R"("cab")", R"("bacx")"},
         {R"("ab")", R"("abxyc")"}});
  check({json_schema(R"({"allOf":[{"type":"string","pattern":"a"},{"pattern":"a"}]})"), {R"("bab")"}, {R"("b")"}});
}

TEST("grammar: a format beside a pattern is an annotation, and so is one that is not known") {
  check({string_schema(R"("format":"email","pattern":"^[a-z]+@[a-z]+$")"), {R"("a@b")"}, {R"("A@b.c")"}});
  check({string_schema(R"("format":"starts_with","pattern":"^ab.*")"), {R"("abc")"}, {R"("bc")"}});
  check({string_schema(R"("format":"no-such-format")"), {R"("anything")"}, {"1"}});
  check({json_schema(R"({"type":"integer","format":"int64"})"), {"5"}, {R"("5")"}});
  check({json_schema(R"({"allOf":[{"type":"string","format":"ulid"},{"format":"date"}]})"),
         {R"("2024-01-02")"},
         {R"("x")"}});
  check({string_schema(R"("format":"email","maxLength":9)"), {R"("a@bc.de")"}, {R"("abcde@bc.de")", R"("a")"}});
  check({json_schema(R"({"format":"date"})"), {R"("2024-01-02")"}, {R"("x")"}});
}

TEST("grammar: more formats") {
  const auto format = [](const char* name) { return json_schema(str(R"({"type":"string","format":")", name, "\"}")); };
  check({format("duration"),
         {R"("P3Y6M4DT12H30M5S")", R"("PT0S")", R"("P1W")", R"("P1D")", R"("PT36H")"},
         {R"("P")", R"("PT")", R"("P1DT")", R"("P1S")", R"("1D")", R"("P1W2D")"}});
  check({format("hostname"),
         {R"("a")", R"("example.com")", R"("a-1.b")"},
         {R"("")", R"("-a")", R"("a-.b")", R"("a..b")", R"("a_b")"}});
  check({format("ipv6"),
         {R"("::")", R"("::1")", R"("fe80::1")", R"("1:2:3:4:5:6:7:8")", R"("1::8")", R"("1:2:3:4:5:6:7::")",
          R"("2001:db8::ff00:42:8329")"},
         {R"(":")", R"("1:2:3:4:5:6:7")", R"("1:2:3:4:5:6:7:8:9")", R"("1::2::3")", R"("12345::")", R"("g::")"}});
  check(
      {format("uuid4"), {R"("123e4567-e89b-42d3-a456-426614174000")"}, {R"("123e4567-e89b-12d3-a456-426614174000")"}});
}

TEST("grammar: look-ahead and anchors, as JavaScript means them") {
  check({pattern("(?=[^]*\\\\d)[a-z0-9]{3}"), {"a1b", "123"}, {"abc", "a1"}});
  check({pattern("(?!ab)[a-z]+"), {"ba", "a", "acb"}, {"ab", "abc"}});
  check({pattern("a(?!b)[bc]d?"), {"ac", "acd"}, {"ab", "abd"}});
  check({pattern("(x(?=y))?[xy]*"), {"xy", "yx", ""}, {"z"}});
  check({pattern("a$|^b|c"), {"a", "b", "c"}, {"ab", ""}});
  check({pattern("(?<year>\\\\d{4})-(?<month>\\\\d\\\\d)"), {"2024-01"}, {"2024"}});
  check({json_schema(R"x({"type":"string","pattern":"(^a|b$)"})x"), {R"("ax")", R"("xb")"}, {R"("xa")", R"("bx")"}});
  check({json_schema(R"x({"type":"string","pattern":"^(?!.*--)[a-z-]+$","maxLength":5})x"),
         {R"("a-b-c")"},
         {R"("a--b")", R"("abcdef")"}});
  check({json_schema(R"x({"type":"string","pattern":"foo(?!bar)"})x"),
         {R"("foo")", R"("foobaz")", R"("foobarfoo")"},
         {R"("foobar")", R"("fo")"}});
  // Patterns that zod writes for a host and a duration, and pydantic for a decimal.
  check(
      {json_schema(
           R"x({"type":"string","pattern":"^(?=.{1,253}\\.?$)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\\.[a-z0-9](?:[-0-9a-z]{0,61}[0-9a-z])?)*\\.?$"})x"),
       {R"("a")", R"("sub.example-1.com.")", "\"" + std::string(61, 'a') + ".b\""},
       {R"("")", R"("-a")", R"("a..b")", "\"" + std::string(64, 'a') + "\""}});
  check(
      {json_schema(
           R"x({"type":"string","format":"duration","pattern":"^P(?:(\\d+W)|(?!.*W)(?=\\d|T\\d)(\\d+Y)?(\\d+M)?(\\d+D)?(T(?=\\d)(\\d+H)?(\\d+M)?(\\d+([.,]\\d+)?S)?)?)$"})x"),
       {R"("P1W")", R"("P1Y2M3DT4H5M6.5S")", R"("PT36H")"},
       {R"("P")", R"("P1WT1H")", R"("P1DT")"}});
  check({json_schema(R"x({"type":"string","pattern":"^(?!^[-+.]*$)[+-]?0*\\d*\\.?\\d*$"})x"),
         {R"("-12.50")", R"(".5")", R"("7")"},
         {R"("")", R"("-")", R"(".")", R"("1.2.3")"}});
}

TEST("grammar: of listed strings, those that the other keywords accept are valid") {
  check({json_schema(R"({"enum":["a","bb","ccc",7,null],"minLength":2})"),
         {R"("bb")", R"("ccc")", "7", "null"},
         {R"("a")"}});
  check({string_schema(R"("enum":["ab","ba"],"pattern":"^a","format":"x")"), {R"("ab")"}, {R"("ba")"}});
}

}  // namespace
}  // namespace oss::grammar
