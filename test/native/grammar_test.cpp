// Formats against texts, token masks against a test of every token, and turns of the harmony format.
#include <algorithm>
#include <random>

#include "native/base/json.h"
#include "native/grammar/json_text.h"
#include "test/native/grammar_harness.h"

namespace oss::grammar {
namespace {

TEST("grammar: any JSON object") {
  check({R"({"kind":"text","format":{"type":"json_object"}})",
         {"{}", "{ }", R"({"a":1})", R"({"a": [1, 2.5e-3, "x", null, true, {"b": {}}]})", "{\n  \"a\": false\n}",
          R"({"\u00e9\uD83D\ude00":"\ud83d\ude00 \n\"\\"})", "{\"\xC3\xA9\":\"\xF0\x9F\x98\x80\"}"},
         {"",
          "[]",
          "1",
          "{",
          R"({"a":1,})",
          R"({"a" :1})",
          R"({a:1})",
          R"({"a":01})",
          R"({"a":.5})",
          R"({"a":1.})",
          R"({"a":+1})",
          R"({"a":"\x"})",
          "{\"a\":\"\n\"}",
          R"({"a":"\ud800"})",
          R"({"a":"\ude00"})",
          R"({"a":"\ud83dx"})",
          "{\"a\":\"\xFF\"}",
          "{\"a\":\"\xC3\"}",
          "{\"a\":\"\xED\xA0\x80\"}",
          "{\"a\":\"\xC0\xAF\"}",
          "{}}",
          " {}",
          "{} ",
          "{   }",
          R"({"a":123456789012345678901})"}});
}

TEST("grammar: JSON schemas of scalars") {
  check({json_schema(R"({"type":"string"})"), {R"("")", R"("a\tb")"}, {"1", "null", "\"", R"("a)"}});
  check({json_schema(R"({"type":"string","minLength":2,"maxLength":3})"),
         {R"("ab")", R"("abc")", "\"\xC3\xA9\xC3\xA9\"", R"("\u0041\ud83d\ude00")"},
         {R"("")", R"("a")", R"("abcd")"}});
  check({json_schema(R"({"type":["string","null"],"title":"t","description":"d","default":1,"examples":[2]})"),
         {"null", R"("a")"},
         {"true", "1"}});
  check({json_schema(R"({"type":"string","nullable":true})"), {"null", R"("a")"}, {"1"}});
  check({json_schema(R"({"type":"boolean"})"), {"true", "false"}, {"null", "tru", "0"}});
  check({json_schema(R"({"type":"integer"})"), {"0", "-7", "999999999999999"}, {"-0", "1.0", "1e3", "01", "--1", "-"}});
  check({json_schema(R"({"type":"number"})"),
         {"0", "-0", "-7.25", "1e9", "2E+10", "0.5"},
         {"NaN", "1.", ".5", "1e", "1e100"}});
  check({json_schema(R"({"enum":["a\"b",1,null,{"k":[true]}]})"),
         {R"("a\"b")", "1", "null", R"({"k":[true]})"},
         {R"("a")", "true", R"({"k": [true]})"}});
  check({json_schema(R"({"type":"string","enum":["x",1]})"), {R"("x")"}, {"1"}});
  check({json_schema(R"({"const":3.5})"), {"3.5"}, {"3", "3.50"}});
  check({json_schema("true"), {"1", "{}", "[]", R"("")"}, {""}});
}

TEST("grammar: integers within bounds, every one of them") {
  struct Range {
    int least, most;
  };
  for (const auto& [least, most] :
       {Range{0, 0}, {1, 1}, {-5, 5}, {0, 255}, {17, 1023}, {-1000, -98}, {99, 101}, {-1, 0}}) {
    const auto constraint =
        compiled(json_schema(str(R"({"type":"integer","minimum":)", least, R"(,"maximum":)", most, "}")));
    for (int n = least - 120; n <= most + 120; ++n) {
      if (accepts(constraint, std::to_string(n)) != (least <= n && n <= most)) {
        test::fail(__FILE__, __LINE__, str(n, " in [", least, ", ", most, "]"));
      }
    }
  }
  check({json_schema(R"({"type":"integer","exclusiveMinimum":3,"exclusiveMaximum":6})"), {"4", "5"}, {"3", "6"}});
  check({json_schema(R"({"type":"integer","minimum":2.5})"), {"3", "100000"}, {"2", "-3"}});
  check({json_schema(R"({"type":"integer","maximum":-3})"), {"-3", "-999999999999999"}, {"-2", "0"}});
  check({json_schema(R"({"type":"integer","minimum":0,"maximum":100,"multipleOf":25})"),
         {"0", "25", "100"},
         {"24", "125", "-25"}});
  check({json_schema(R"({"type":"integer","multipleOf":7})"), {"0", "7", "-14", "700007"}, {"8", "-1", "700008"}});
  check({json_schema(R"({"type":"integer","minimum":0,"multipleOf":10})"), {"0", "10", "123450"}, {"5", "-10"}});
}

TEST("grammar: numbers within bounds, thousands of them") {
  struct Range {
    double least, most;
    bool exclusive;
  };
  for (const auto& [least, most, exclusive] : {Range{0, 1, false},
                                               {0, 1, true},
                                               {-1.5, 2.25, false},
                                               {0.1, 0.3, true},
                                               {-3, -2.5, true},
                                               {99.5, 101, false}}) {
    const auto constraint = compiled(json_schema(
        exclusive ? str(R"({"type":"number","exclusiveMinimum":)", least, R"(,"exclusiveMaximum":)", most, "}")
                  : str(R"({"type":"number","minimum":)", least, R"(,"maximum":)", most, "}")));
    for (int n = -4000; n <= 4000; n += 7) {
      for (const int scale : {1, 10, 1000}) {
        const double value = double(n) / scale;
        const std::string text = str(value);
        if (text.find('e') != text.npos || text == "-0") continue;
        const bool within = exclusive ? least < value && value < most : least <= value && value <= most;
        if (accepts(constraint, text) != within) test::fail(__FILE__, __LINE__, str(text, " in ", least, " .. ", most));
      }
    }
  }
  check({json_schema(R"({"type":"number","minimum":0})"),
         {"0", "0.5", "12345.678", "1234567890123", "1764400000.123456"},
         {"-1", "-0", "1e3"}});
  check({json_schema(R"({"type":"number","exclusiveMinimum":0})"), {"0.000001", "3"}, {"0", "0.0", "-1"}});
}

TEST("grammar: JSON schemas of objects") {
  const std::string person = R"({"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer"},
      "tags":{"type":"array","items":{"type":"string"}}},"required":["name"],"additionalProperties":false})";
  check({json_schema(person),
         {R"({"name":"x"})", R"({"name":"x","age":3})", R"({"name": "x", "tags": ["a", "b"]})",
          R"({"name":"x","age":3,"tags":[]})", "{\n  \"name\": \"x\"\n}"},
         {"{}", R"({"age":3})", R"({"age":3,"name":"x"})", R"({"name":"x","name":"y"})", R"({"name":"x","z":1})",
          R"({"name":"x",})", R"({"name":1})"}});
  check({json_schema(R"({"type":"object","properties":{"a":{"type":"null"},"b":{"type":"null"}}})"),
         {"{}", R"({"a":null})", R"({"b":null})", R"({"a":null,"b":null})"},
         {R"({"b":null,"a":null})", R"({"c":null})", R"({,"b":null})"}});
  check({json_schema(
             R"({"type":"object","properties":{"ab":{"type":"null"}},"additionalProperties":{"type":"integer"}})"),
         {"{}", R"({"ab":null})", R"({"a":1})", R"({"abc":1,"":2})", R"({"ab":null,"b":1})", "{\"\xC3\xA9\":1}"},
         {R"({"ab":1})", R"({"a":null})", R"({"a":1,"ab":null})", R"({"\u0061b":1})"}});
  check({json_schema(R"({"properties":{"é":{"const":1}},"additionalProperties":{"const":2}})"),
         {R"({"é":1})", R"({"è":2})", R"({"éa":2})"},
         {R"({"é":2})"}});
  check({json_schema(R"({"type":"object","properties":{}})"), {"{}"}, {R"({"a":1})"}});
  check({json_schema(R"({"type":"object"})"), {"{}", R"({"a":1})"}, {"[]"}});
  check({json_schema(R"({"type":"object","required":["x"]})"), {R"({"x":[1]})"}, {"{}"}});
  check({json_schema(R"({"type":"object","additionalProperties":false})"), {"{}"}, {R"({"a":1})"}});
}

TEST("grammar: JSON schemas of arrays") {
  check({json_schema(R"({"type":"array","items":{"type":"integer"},"minItems":1,"maxItems":3})"),
         {"[1]", "[1,2]", "[1, 2, 3]", "[\n  1,\n  2\n]"},
         {"[]", "[1,2,3,4]", "[1,]", "[,1]", R"(["a"])"}});
  check({json_schema(R"({"type":"array","prefixItems":[{"const":"a"},{"type":"integer"}],"items":false,"minItems":2})"),
         {R"(["a",1])"},
         {R"(["a"])", "[]", R"(["a",1,2])", R"([1,"a"])"}});
  check({json_schema(R"({"type":"array","prefixItems":[{"const":"a"}],"items":{"type":"null"}})"),
         {"[]", R"(["a"])", R"(["a",null,null])"},
         {"[null]", R"(["a","a"])"}});
  check({json_schema(R"({"type":"array","items":{"type":"null"},"maxItems":0})"), {"[]", "[ ]"}, {"[null]"}});
  check({json_schema(R"({"type":"array","items":{"type":"null"},"minItems":1000,"maxItems":1000})"),
         {},
         {"[]", "[null]"}});
}

TEST("grammar: combined JSON schemas") {
  check({json_schema(R"({"anyOf":[{"type":"integer"},{"type":"string","maxLength":1}]})"),
         {"5", R"("a")"},
         {R"("ab")", "null"}});
  check(
      {json_schema(
           R"({"oneOf":[{"type":"object","properties":{"kind":{"const":"a"},"x":{"type":"integer"}},"required":["kind"]},
                                  {"type":"object","properties":{"kind":{"const":"b"}},"required":["kind"]}]})"),
       {R"({"kind":"a","x":1})", R"({"kind":"b"})"},
       {R"({"kind":"b","x":1})", R"({"kind":"c"})"}});
  check({json_schema(R"({"allOf":[{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]},
                                  {"properties":{"a":{"maximum":9,"minimum":0},"b":{"type":"null"}},"required":["b"]}]})"),
         {R"({"a":3,"b":null})"},
         {R"({"a":3})", R"({"a":10,"b":null})"}});
  check({json_schema(R"({"$ref":"#/$defs/t","$defs":{"t":{"type":"object","properties":{"v":{"type":"integer"},
                         "next":{"anyOf":[{"$ref":"#/$defs/t"},{"type":"null"}]}},"required":["v","next"],"additionalProperties":false}}})"),
         {R"({"v":1,"next":null})", R"({"v":1,"next":{"v":2,"next":{"v":3,"next":null}}})"},
         {R"({"v":1})", R"({"v":1,"next":{"v":2}})"}});
  check({json_schema(R"({"type":"array","items":{"$ref":"#"}})"), {"[]", "[[],[[]]]"}, {"[1]"}});
  check({json_schema(R"({"$ref":"#/definitions/s","maxLength":2,"definitions":{"s":{"type":"string","minLength":1}}})"),
         {R"("a")", R"("ab")"},
         {R"("")", R"("abc")"}});
}

TEST("grammar: patterns") {
  check({pattern("a+b?c*"), {"a", "aab", "abcc"}, {"", "b", "abb", "ca"}});
  check({pattern("^(cat|dog)s?$"), {"cat", "dogs"}, {"catdog", "cats!", ""}});
  check({pattern("[^a-c]{2}"), {"dd", "\xC3\xA9\xE2\x82\xAC"}, {"ad", "d", "ddd", "\xC3"}});
  check({pattern(R"(\\d{2,3}-\\w+\\s\\u00e9\\u{1F600})"),
         {"12-a_\t\xC3\xA9\xF0\x9F\x98\x80"},
         {"1-a \xC3\xA9\xF0\x9F\x98\x80"}});
  check({pattern("(a*)*b"), {"b", "aaab"}, {"a", ""}});
  check({pattern("(a|ab)(c|bcd)(d*)"), {"ac", "abcd", "abcdd"}, {"ad"}});
  check({pattern("."), {"x", "\xE2\x82\xAC"}, {"", "\n", "xy"}});
  check({pattern("x{0}"), {""}, {"x"}});
  check({json_schema(R"({"type":"string","pattern":"^[A-Z]{2}\\d$"})"), {R"("AB1")"}, {R"("AB")", R"("xAB1")"}});
  check({json_schema(R"({"type":"string","pattern":"b"})"),
         {R"("b")", R"("abc")", R"("\"b")", R"("\nb")"},
         {R"("a")", R"("")", "\"\"b\""}});
  check({json_schema(R"({"type":"string","pattern":"^[\"\\\\]$"})"), {R"("\"")", R"("\\")"}, {R"(""")", R"("\")"}});
}

TEST("grammar: formats") {
  const auto format = [](const char* name) { return json_schema(str(R"({"type":"string","format":")", name, "\"}")); };
  check({format("date"),
         {R"("2024-02-29")", R"("2025-12-31")", R"("2000-02-29")"},
         {R"("2023-02-29")", R"("1900-02-29")", R"("2025-04-31")", R"("2025-13-01")"}});
  check({format("time"), {R"("23:59:59Z")", R"("00:00:00.5+01:00")"}, {R"("24:00:00Z")", R"("12:00:00")"}});
  check({format("date-time"), {R"("2025-01-02T03:04:05Z")"}, {R"("2025-01-02 03:04:05Z")", R"("2025-01-02")"}});
  check({format("email"), {R"("a.b@example.com")"}, {R"("a@b")", R"("@b.c")", R"("a..b@c.de")"}});
  check({format("uuid"), {R"("123e4567-e89b-12d3-a456-426614174000")"}, {R"("123e4567")"}});
  check({format("ipv4"), {R"("255.0.10.199")"}, {R"("256.0.0.1")", R"("1.2.3")", R"("01.2.3.4")"}});
  check({format("uri"), {R"("https://example.com/a?b=c#d")"}, {R"("example.com")", R"("http://")"}});
}

TEST("grammar: choices") {
  check({R"({"kind":"text","format":{"type":"choice","choices":["yes","no","not now",""]}})",
         {"yes", "no", "not now", ""},
         {"y", "not", "nope", "yesno"}});
}

TEST("grammar: of branches of oneOf that list values, those of one branch alone are valid") {
  check({json_schema(R"({"oneOf":[{"const":1},{"const":2},{"const":1.0,"title":"again"}]})"), {"2"}, {"1"}});
  check(
      {json_schema(R"({"oneOf":[{"enum":["a","a","b"]},{"enum":["b","c"]},{"const":"d"}],"type":"string","minLength":1,
         "enum":["a","b","c"]})"),
       {"\"a\"", "\"c\""},
       {"\"b\"", "\"d\""}});
  // The order of members does not change the value.
  check({json_schema(R"({"oneOf":[{"const":{"a":1,"b":[{}]}},{"const":{"b":[{}],"a":1}},{"const":{"a":[]}}]})"),
         {R"({"a":[]})"},
         {R"({"a":1,"b":[{}]})", R"({"b":[{}],"a":1})"}});
}

TEST("grammar: unsupported keywords are refused by name and path") {
  const auto refused = [](const std::string& schema, const char* part) {
    CHECK_THROWS(Code::kInvalidArgument, part, compiled(json_schema(schema)));
  };
  refused(R"({"type":"array","uniqueItems":true})", "schema #: the keyword \"uniqueItems\" is not supported");
  refused(R"({"properties":{"a":{"not":{"type":"null"}}}})", "schema #/properties/a: the keyword \"not\"");
  refused(R"x({"type":"string","pattern":"a(b(?=c))+"})x", "look-ahead inside of a repetition at byte 3");
  refused(R"x({"type":"string","pattern":"ab(?<=b)"})x", "look-behind at byte 4");
  refused(R"({"type":"string","pattern":"(a)\\1"})", "the escape \"\\1\"");
  refused(R"({"type":"string","pattern":"\\bx"})", "the escape \"\\b\"");
  refused(R"({"type":"string","pattern":"\\p{L}"})", "the escape \"\\p\"");
  refused(R"x({"type":"string","pattern":"(?!a*^b)"})x", "an anchor behind what may be empty at byte 5");
  refused(R"({"type":"string","pattern":"a{2,1}"})", "a count");
  refused(R"({"type":"string","pattern":"(a"})", "not closed");
  refused(R"({"oneOf":[{"type":"integer"},{"type":"number"}]})", "branches 0 and 1 may have values in common");
  refused(R"({"$ref":"other.json"})", "is not within the schema");
  refused(R"({"$ref":"#/$defs/none"})", "leads nowhere");
  refused(R"({"$ref":"#"})", "no text satisfies");
  refused(R"({"anyOf":[{"$ref":"#"},{"type":"null"}]})", "begins with itself");
  refused(R"({"type":"object","properties":{"a":{"$ref":"#"}},"required":["a"]})", "no text satisfies");
  refused(R"({"type":"integer","minimum":5,"maximum":4})", "no text satisfies");
  refused(R"({"type":"text"})", "none that JSON has");
  refused(R"({"type":"number","multipleOf":0})", "multipleOf 0 is not above zero");
  refused(R"({"enum":[{"a":1}],"required":["a"]})", "\"required\" beside \"enum\"");
  refused("false", "no text satisfies");
  refused("3", "expected a schema, found 3 (integer)");
  std::string deep = "true";
  for (int i = 0; i < 70; ++i) deep = R"({"items":)" + deep + "}";
  refused(deep, "64");
  CHECK_THROWS(Code::kInvalidArgument, "131072 characters", compiled(pattern(std::string(140'000, 'a'))));
  CHECK_THROWS(Code::kInvalidArgument, "count above 10000", compiled(pattern("a{10001}")));
  CHECK_THROWS(Code::kInvalidArgument, "too large to compile", compiled(pattern(std::string(1 << 20, 'a'))));
}

TEST("grammar: a pattern with too many open ways is refused") {
  CHECK_THROWS(Code::kUnsupported, "ways open at once", compiled(pattern("(a?){5000}a{5000}")));
  // The first mask is made when the pattern is compiled, later ones when the matcher reaches them.
  CHECK_THROWS(Code::kUnsupported, "ways open at once", compiled(pattern("x(a?){5000}a{5000}")));
  Matcher matcher(compiled(pattern("[0-9]{40}(a?){5000}a{5000}")));
  CHECK_THROWS(Code::kUnsupported, "ways open at once", first_refused(matcher, std::string(40, '7') + "a"));
}

// Whether these bytes can follow the text, tested byte by byte.
bool can_follow(const std::shared_ptr<const Constraint>& constraint, const std::string& text) {
  Matcher matcher(constraint);
  return first_refused(matcher, text) == std::string::npos;
}

TEST("grammar: masks equal a test of every token") {
  const std::string formats[] = {
      R"({"kind":"text","format":{"type":"json_object"}})",
      json_schema(
          R"({"type":"object","properties":{"a":{"type":"string","maxLength":3},"b":{"type":"integer","minimum":-20,
                     "maximum":300}},"required":["b"],"additionalProperties":{"enum":["x","xy",null]}})"),
      json_schema(
          R"({"type":"array","items":{"anyOf":[{"type":"string"},{"type":"number"},{"type":"boolean"}]},"minItems":1})"),
      pattern(R"(([a-z]{1,3} ?)+[.!?]|\\d+\u00e9*)"),
      R"({"kind":"text","format":{"type":"choice","choices":["the","then","there is","é","日本"]}})",
  };
  std::mt19937 random(1);
  for (const std::string& format : formats) {
    const auto constraint = compiled(format);
    for (int walk = 0; walk < 3; ++walk) {
      Matcher matcher(constraint);
      std::string text;
      for (int step = 0; step < 12 && !matcher.done(); ++step) {
        const TokenMask mask = matcher.mask(kPlenty);
        std::vector<int32_t> allowed;
        for (int32_t token = 0; token < kSmall; ++token) {
          if (allows(mask, token)) allowed.push_back(token);
          const bool expected =
              token == kEndOfText ? accepts(constraint, text) : can_follow(constraint, text + bytes_of(token));
          if (allows(mask, token) != expected) {
            test::fail(__FILE__, __LINE__,
                       str(format, " after ", quote(text), ": token ", token, " ", quote(bytes_of(token)),
                           expected ? " is not allowed" : " is allowed"));
          }
        }
        CHECK(!allowed.empty());
        const int32_t token = allowed[random() % allowed.size()];
        matcher.accept(token);
        if (!matcher.done()) text += bytes_of(token);
      }
    }
  }
}

std::string drawn(Matcher& matcher, int64_t budget, std::mt19937& random, int vocab, int64_t* used = nullptr) {
  std::vector<uint32_t> tokens;
  int64_t left = budget;
  while (!matcher.done() && left > 0) {
    const TokenMask& mask = matcher.mask(left--);
    int32_t token;
    do token = int32_t(random() % uint32_t(vocab));
    while (!allows(mask, token) && random() % 4096 != 0);
    while (!allows(mask, token)) token = (token + 1) % vocab;
    matcher.accept(token);
    tokens.push_back(uint32_t(token));
  }
  if (used != nullptr) *used = budget - left;
  return tokenizer::decode(tokens);
}

TEST("grammar: every text ends within its tokens when they suffice") {
  const std::string schema = json_schema(R"({"type":"object","properties":{"title":{"type":"string","minLength":5},
      "children":{"type":"array","items":{"$ref":"#"}},"any":true},"required":["title","any"],"additionalProperties":false})");
  const auto constraint = compiled(schema);
  const int64_t least = int64_t(constraint->frame.place(constraint->frame.start()).distance);
  std::mt19937 random(2);
  for (int64_t budget : {least, least + 1, least + 7, least + 50, least + 300}) {
    for (int run = 0; run < 10; ++run) {
      Matcher matcher(constraint);
      const std::string text = drawn(matcher, budget, random, kSmall);
      CHECK(matcher.done());
      const Json value = parse_json(text.substr(0, text.size() - bytes_of(kEndOfText).size()), "drawn");
      CHECK(value.find("title") != nullptr && value.find("any") != nullptr);
    }
  }
  // A budget that is too small is used as well as possible.
  Matcher matcher(constraint);
  drawn(matcher, 4, random, kSmall);
  CHECK(!matcher.done());
}

TEST("grammar: nesting is bounded, and every open bracket can be closed") {
  const auto constraint = compiled(json_schema("true"));
  Matcher matcher(constraint);
  const size_t depth = first_refused(matcher, std::string(1000, '['));
  CHECK(depth > 30 && depth < 200);
  CHECK_EQ(first_refused(matcher, std::string(depth, ']')), std::string::npos);
  CHECK(allows(matcher.mask(kPlenty), kEndOfText));
}

TEST("grammar: the automaton drops states and continues") {
  const auto constraint = compiled(pattern("([a-z]{0,9000}[0-9]){0,9000}"));
  Matcher matcher(constraint), other(constraint);
  CHECK_EQ(first_refused(other, "abc"), std::string::npos);
  // States differ in their counts. Five thousand letters and all tokens that could follow do not fit.
  for (int round = 0; round < 3; ++round)
    CHECK_EQ(first_refused(matcher, std::string(4000, 'a') + "7"), std::string::npos);
  CHECK_EQ(first_refused(other, "def9"), std::string::npos);
  CHECK(allows(other.mask(kPlenty), kEndOfText));
  CHECK(first_refused(other, "!") == 0);
}

// --- turns ---------------------------------------------------------------------------------------------------------------

std::string turn(const std::string& members) {
  const std::string schema = json_string(R"({"type":"object","properties":{"city":{"type":"string"}},
    "required":["city"],"additionalProperties":false})");
  return R"({"kind":"harmony","tools":[{"name":"get_weather","parameters":)" + schema +
         R"(},{"name":"now","parameters":null}])" + members + "}";
}

tokenizer::SpecialSet all_specials() { return tokenizer::SpecialSet().set(); }

// Reads the tokens that the tokenizer makes. Returns the index of the first refused byte, or npos at the end of the
// turn.
size_t refused_at(const std::shared_ptr<const Constraint>& constraint, const std::string& text) {
  Matcher matcher(constraint);
  std::vector<uint32_t> read;
  for (const uint32_t token : tokenizer::encode(text, all_specials())) {
    if (matcher.done() || !allows(matcher.mask(kPlenty), int32_t(token))) return tokenizer::decode(read).size();
    matcher.accept(int32_t(token));
    read.push_back(token);
  }
  return matcher.done() ? std::string::npos : text.size();
}

constexpr const char* kCall =
    "<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{\"city\":\"Rome\"}<|call|>";
constexpr const char* kFinal = "<|channel|>final<|message|>Hello \xF0\x9F\x98\x80<|return|>";
constexpr const char* kThought = "<|channel|>analysis<|message|>Hm, well.<|end|><|start|>assistant";
constexpr const char* kPreamble = "<|channel|>commentary<|message|>Let me look.<|end|><|start|>assistant";

TEST("grammar: turns of the harmony format") {
  const auto automatic = compiled(turn(""), kFull);
  for (const char* text : {kCall, kFinal}) {
    CHECK_EQ(refused_at(automatic, text), std::string::npos);
    CHECK_EQ(refused_at(automatic, str(kThought, kPreamble, kThought, text)), std::string::npos);
  }
  CHECK_EQ(
      refused_at(automatic, "<|channel|>commentary to=functions.now <|constrain|>json<|message|>{\"a\":[1]}<|call|>"),
      std::string::npos);
  for (const char* text :
       {"Hello", "<|message|>", "<|channel|>other<|message|>", "<|channel|>commentary to=functions.other ",
        "<|channel|>final to=functions.now ", "<|channel|>analysis<|message|><|end|>",
        "<|channel|>final<|message|>x<|end|>", "<|channel|>final<|message|>x<|call|>",
        "<|channel|>final<|message|>x<|reserved_200000|>", "<|channel|>final<|message|>x<|endoftext|>",
        "<|channel|>analysis<|message|>x<|end|><|start|>user",
        "<|channel|>commentary to=functions.now <|constrain|>json<|message|>[",
        "<|channel|>commentary to=functions.now<|message|>"}) {
    if (refused_at(automatic, text) >= std::string(text).size()) test::fail(__FILE__, __LINE__, str("accepted ", text));
  }
  CHECK_THROWS(Code::kUnsupported, "needs the full vocabulary", compiled(turn("")));
}

TEST("grammar: a constraint with a missing or wrong field is refused") {
  // lib/generation/constraint.ts writes none of these, but a toJSON() of the caller's value can.
  for (const char* json :
       {"1", "{}", R"({"kind":1})", R"({"kind":"text"})", R"({"kind":"text","format":[]})",
        R"({"kind":"text","format":{"type":{}}})", R"({"kind":"text","format":{"type":"json_schema"}})",
        R"({"kind":"text","format":{"type":"regex"}})", R"({"kind":"text","format":{"type":"regex","pattern":1}})",
        R"({"kind":"text","format":{"type":"choice"}})", R"({"kind":"text","format":{"type":"choice","choices":"[]"}})",
        R"({"kind":"text","format":{"type":"choice","choices":[1]}})"}) {
    CHECK_THROWS(Code::kInvalidArgument, "the JSON text of the constraint", compiled(json));
  }
  for (const char* members :
       {R"(,"toolChoice":1)", R"(,"names":"x","tools":[{"name":"f"}])", R"(,"names":[1],"tools":[{"name":"f"}])",
        R"(,"analysisTokens":"1")", R"(,"tools":{})", R"(,"tools":[{}])", R"(,"tools":["f"])", R"(,"final":1)"}) {
    CHECK_THROWS(Code::kInvalidArgument, "the JSON text of the constraint",
                 compiled(str(R"({"kind":"harmony")", members, "}"), kFull));
  }
}

TEST("grammar: tool choice, and names") {
  const auto none = compiled(turn(R"(,"toolChoice":"none")"), kFull);
  CHECK(refused_at(none, kCall) != std::string::npos);
  CHECK_EQ(refused_at(none, str(kPreamble, kFinal)), std::string::npos);
  const auto required = compiled(turn(R"(,"toolChoice":"required","names":["get_weather"])"), kFull);
  CHECK_EQ(refused_at(required, str(kThought, kCall)), std::string::npos);
  CHECK(refused_at(required, kFinal) != std::string::npos);
  CHECK(refused_at(required, kPreamble) != std::string::npos);
  CHECK(refused_at(required, "<|channel|>commentary to=functions.now <|constrain|>json<|message|>{}<|call|>") !=
        std::string::npos);
  const auto formatted = compiled(turn(R"(,"final":{"type":"choice","choices":["yes","no"]})"), kFull);
  CHECK_EQ(refused_at(formatted, "<|channel|>final<|message|>yes<|return|>"), std::string::npos);
  CHECK(refused_at(formatted, kFinal) != std::string::npos);
  CHECK_EQ(refused_at(formatted, str(kThought, "<|channel|>final<|message|>yes<|return|>")), std::string::npos);
  CHECK(refused_at(formatted, kPreamble) != std::string::npos);
}

TEST("grammar: analysis has a budget for the whole turn") {
  const auto none = compiled(turn(R"(,"analysisTokens":0)"), kFull);
  CHECK(refused_at(none, str(kThought, kFinal)) != std::string::npos);
  CHECK_EQ(refused_at(none, kFinal), std::string::npos);
  const int64_t thought = int64_t(tokenizer::encode("Hm, well.").size());
  const auto two = compiled(turn(str(R"(,"analysisTokens":)", 2 * thought)), kFull);
  CHECK_EQ(refused_at(two, str(kThought, kThought, kFinal)), std::string::npos);
  CHECK(refused_at(two, str(kThought, kThought, kThought, kFinal)) != std::string::npos);
  const auto short_one = compiled(turn(str(R"(,"analysisTokens":)", thought - 1)), kFull);
  CHECK(refused_at(short_one, str(kThought, kFinal)) != std::string::npos);
}

TEST("grammar: fixed text counts by tokens, not by bytes") {
  const std::string schema = json_schema(R"({"type":"object","properties":{"temperature_in_celsius":{"type":"string"},
      "description_of_the_weather":{"type":"string"}},"required":["temperature_in_celsius","description_of_the_weather"]})");
  const auto least = [&](int vocab) {
    const auto constraint = compiled(schema, vocab);
    return constraint->frame.place(constraint->frame.start()).distance;
  };
  CHECK(least(kSmall) > 60);
  CHECK(least(kFull) < 30);
  const auto constraint = compiled(schema, kFull);
  std::mt19937 random(4);
  for (int run = 0; run < 5; ++run) {
    Matcher matcher(constraint);
    drawn(matcher, least(kFull), random, kFull);
    CHECK(matcher.done());
  }
}

TEST("grammar: turns that promise a call or a format end within their tokens") {
  std::mt19937 random(3);
  for (const char* more : {R"(,"toolChoice":"required")", R"(,"toolChoice":"none","final":{"type":"json_object"})"}) {
    const auto constraint = compiled(turn(more), kFull);
    const int64_t least = int64_t(constraint->frame.place(constraint->frame.start()).distance);
    for (const int64_t budget : {least, least + 9, least + 100}) {
      Matcher matcher(constraint);
      int64_t used = 0;
      const std::string text = drawn(matcher, budget, random, kFull, &used);
      if (!matcher.done()) test::fail(__FILE__, __LINE__, str(more, " in ", budget, ": ", text));
      CHECK(used <= budget);
    }
  }
}

TEST("grammar: the limit changes no mask of a turn that promises no format") {
  for (const char* more : {"", R"(,"toolChoice":"none")", R"(,"analysisTokens":50)"}) {
    const auto constraint = compiled(turn(more), kFull);
    for (const char* text : {kCall, kFinal, kThought, kPreamble}) {
      Matcher near_end(constraint), far_from_it(constraint);
      for (const uint32_t token : tokenizer::encode(text, all_specials())) {
        const TokenMask mask = near_end.mask(1);
        CHECK(mask == far_from_it.mask(kPlenty));
        CHECK(near_end.without_limit() == nullptr);
        if (!allows(mask, int32_t(token))) break;  // a call, where the choice is "none"
        near_end.accept(int32_t(token));
        far_from_it.accept(int32_t(token));
      }
    }
  }
}

TEST("grammar: a mask of the limit has the mask without it beside it, where they differ") {
  struct Row {
    const char* members;
    std::string before;
    int64_t left;
    bool differs;
  };
  const std::string choice = R"(,"toolChoice":"none","final":{"type":"choice","choices":["yes","no"]})";
  const std::string in_call = std::string(kCall).substr(0, std::string(kCall).find("\"}"));
  const Row rows[] = {
      {choice.c_str(), "<|channel|>final<|message|>", 2, true},      // "yes" can be more tokens than one
      {choice.c_str(), "<|channel|>final<|message|>", 4, false},     // at most "y", "e", "s" and <|return|>
      {choice.c_str(), "<|channel|>final<|message|>yes", 1, false},  // only <|return|> can follow, whatever the limit
      {choice.c_str(), "<|channel|>analysis<|message|>Hm", 7, true},
      {choice.c_str(), "<|channel|>analysis<|message|>Hm", 500, false},
      {R"(,"toolChoice":"required")", in_call, 2, true},
      {R"(,"toolChoice":"required")", in_call, 500, false},
      {"", in_call, 2, false},
      // The budget of analysis is no limit of the turn.
      {R"(,"analysisTokens":1,"toolChoice":"none","final":{"type":"choice","choices":["yes"]})",
       "<|channel|>analysis<|message|>Hm", 500, false},
  };
  for (const Row& row : rows) {
    Matcher matcher(compiled(turn(row.members), kFull));
    for (const uint32_t token : tokenizer::encode(row.before, all_specials())) {
      matcher.mask(kPlenty);
      matcher.accept(int32_t(token));
    }
    const TokenMask limited = matcher.mask(row.left);
    const bool differs = matcher.without_limit() != nullptr;
    if (differs != row.differs) {
      test::fail(__FILE__, __LINE__, str(row.members, " after ", row.before, ", ", row.left, " left"));
    }
    const TokenMask without = differs ? *matcher.without_limit() : limited;
    CHECK(without == matcher.mask(kPlenty));
    for (size_t word = 0; word < limited.size(); ++word) CHECK_EQ(limited[word] & ~without[word], uint32_t(0));
  }
}

}  // namespace
}  // namespace oss::grammar
