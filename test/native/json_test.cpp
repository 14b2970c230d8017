#include "native/base/json.h"

#include <clocale>
#include <limits>
#include <random>

#include "test/native/checkpoint_files.h"

using namespace oss;
using namespace oss::test;

static Json parse(const std::string& text) { return parse_json(text, "file"); }
// Returns by value: CHECK_EQ binds a reference, which would outlive the Json.
static std::optional<int64_t> integer_of(const std::string& text) { return parse(text).integer(); }
static double number_of(const std::string& text) { return parse(text).number()->value; }
static std::string string_of(const std::string& text) { return *parse(text).string(); }

TEST("json: values of every type") {
  const Json json = parse(" {\"a\": [1, -2.5e1, true, false, null, \"x\"], \"\": {}, \"b\":[]}\r\n\t");
  const Json::Array& a = *json.find("a")->array();
  CHECK_EQ(a.size(), 6u);
  CHECK(a[0].integer() == 1);
  CHECK_EQ(a[1].number()->value, -25.0);
  CHECK(!a[1].integer());
  CHECK(*a[2].boolean() && !*a[3].boolean() && a[4].is_null());
  CHECK_EQ(*a[5].string(), "x");
  CHECK(json.find("")->object()->empty() && json.find("b")->array()->empty());
  CHECK(json.find("c") == nullptr && a[0].find("a") == nullptr);
  CHECK_EQ((*json.object())[2].first, "b");  // the order of the file
}

TEST("json: numbers") {
  CHECK(integer_of("9223372036854775807") == std::numeric_limits<int64_t>::max());
  CHECK(integer_of("-9223372036854775808") == std::numeric_limits<int64_t>::min());
  CHECK(!integer_of("9223372036854775808"));
  CHECK_EQ(number_of("9223372036854775808"), 9223372036854775808.0);
  CHECK(integer_of("-0") == 0);
  CHECK(!integer_of("1.0") && !integer_of("1e3"));
  CHECK_EQ(number_of("0.1"), 0.1);
  CHECK_EQ(number_of("1E+2"), 100.0);
  CHECK_EQ(number_of("1.702"), 1.702);
}

TEST("json: numbers do not depend on the locale") {
  const std::string before = std::setlocale(LC_ALL, nullptr);
  for (const char* comma : {"de_DE.UTF-8", "fr_FR.UTF-8"}) std::setlocale(LC_ALL, comma);
  CHECK_EQ(number_of("2.5"), 2.5);
  std::setlocale(LC_ALL, before.c_str());
}

TEST("json: escapes and UTF-8") {
  CHECK_EQ(string_of("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\""), "\"\\/\b\f\n\r\t");
  CHECK_EQ(string_of("\"\\u0041\\u00e9\\u20AC\\ud83d\\ude00\""), "Aé€😀");
  CHECK_EQ(string_of("\"é€😀\x7f\""), "é€😀\x7f");
  CHECK_EQ(string_of("\"\\u0000\""), std::string(1, '\0'));
  CHECK_EQ(string_of("\"\\uFFFF\\uD7FF\\uE000\""), "\xEF\xBF\xBF\xED\x9F\xBF\xEE\x80\x80");
}

TEST("json: invalid texts are refused, with the position") {
  const std::pair<std::string, const char*> rows[] = {
      {"", "byte 0: expected a value, found the end of the text"},
      {"  ", "byte 2: expected a value, found the end of the text"},
      {"{", "byte 1: expected a key in quotes, found the end"},
      {"[1, 2", "byte 5: expected ',' or ']', found the end"},
      {"[1, ]", "byte 4: expected a value, found ']'"},
      {"[1 2]", "byte 3: expected ',' or ']', found '2'"},
      {"{\"a\" 1}", "byte 5: expected ':' after the key \"a\", found '1'"},
      {"{\"a\": 1,}", "byte 8: expected a key in quotes, found '}'"},
      {"{a: 1}", "byte 1: expected a key in quotes, found 'a'"},
      {"{\"a\": 1 \"b\": 2}", "byte 8: expected ',' or '}', found '\"'"},
      {"{\"a\": 1, \"b\": 2, \"a\": 3}", "byte 17: the key \"a\" appears twice, first at byte 1"},
      {"{\"a\": 1, \"\\u0061\": 3}", "byte 9: the key \"a\" appears twice, first at byte 1"},
      {"1 2", "byte 2: expected the end of the text, found '2'"},
      {"{}\x01", "byte 2: expected the end of the text, found byte 0x01"},
      {std::string("1\0", 2), "byte 1: expected the end of the text, found byte 0x00"},
      {"tru", "byte 0: expected true"},
      {"nul", "byte 0: expected null"},
      {"False", "byte 0: expected a value, found 'F'"},
      {"NaN", "byte 0: expected a value, found 'N'"},
      {"-Infinity", "byte 1: expected a digit, found 'I'"},
      {"+1", "byte 0: expected a value, found '+'"},
      {".5", "byte 0: expected a value, found '.'"},
      {"5.", "byte 2: expected a digit, found the end"},
      {"01", "byte 1: expected the end of the text, found '1'"},
      {"-", "byte 1: expected a digit, found the end"},
      {"1e", "byte 2: expected a digit, found the end"},
      {"1e+", "byte 3: expected a digit, found the end"},
      {"0x10", "byte 1: expected the end of the text, found 'x'"},
      {"1e999", "byte 0: a number beyond the range of double"},
      {"\"abc", "byte 4: a string without its closing quote"},
      {"\"a\nb\"", "byte 2: a control character inside a string, byte 0x0a"},
      {"\"\\x\"", "byte 2: an unknown escape, \\ followed by 'x'"},
      {"\"\\", "byte 2: an unknown escape, \\ followed by the end of the text"},
      {"\"\\u12g4\"", "byte 5: expected four hexadecimal digits after \\u, found 'g'"},
      {"\"\\ud800\"", "byte 1: a high surrogate without its low surrogate"},
      {"\"\\ud800\\u0041\"", "byte 1: a high surrogate without its low surrogate"},
      {"\"\\udc00\"", "byte 1: a low surrogate without its high surrogate"},
      {"\"\x80\"", "byte 1: a string with bytes that are not UTF-8, byte 0x80"},
      {"\"\xC0\x80\"", "byte 1: a string with bytes that are not UTF-8"},          // overlong
      {"\"\xE0\x80\x80\"", "byte 1: a string with bytes that are not UTF-8"},      // overlong
      {"\"\xED\xA0\x80\"", "byte 1: a string with bytes that are not UTF-8"},      // a surrogate
      {"\"\xF4\x90\x80\x80\"", "byte 1: a string with bytes that are not UTF-8"},  // past U+10FFFF
      {"\"\xE2\x82", "byte 1: a string with bytes that are not UTF-8"},            // cut short
      {"\xEF\xBB\xBF{}", "byte 0: expected a value, found byte 0xef"},             // a byte order mark
      {std::string(100, '['), "byte 65: more than 64 levels of nesting"},
  };
  for (const auto& [text, part] : rows)
    expect_error(text, Code::kModelFormat, str("file: ", part), [&] { parse(text); });
}

TEST("json: excessive sizes are refused") {
  expect_error("a million levels", Code::kModelFormat, "levels of nesting", [] { parse(std::string(1'000'000, '[')); });
  std::string wide = "[0";
  for (size_t i = 0; i < Json::kMaxValues; ++i) wide += ",0";
  expect_error("a million values", Code::kModelFormat, "more than 1048576 values", [&] { parse(wide + "]"); });
  const std::string deepest = std::string(64, '[') + std::string(64, ']');
  expect_success("64 levels", [&] { parse(deepest); });
}

TEST("json: values and names in messages") {
  CHECK_EQ(parse("null").describe(), "null");
  CHECK_EQ(parse("true").describe(), "true (boolean)");
  CHECK_EQ(parse("-3").describe(), "-3 (integer)");
  CHECK_EQ(parse("7.5").describe(), "7.5 (number)");
  CHECK_EQ(parse("\"silu\"").describe(), "\"silu\" (string)");
  CHECK_EQ(parse("[1,2]").describe(), "a list of 2");
  CHECK_EQ(parse("{\"a\":1}").describe(), "an object of 1");
  CHECK_EQ(quote("a\"b\\\x01\xFF"), "\"a\\\"b\\\\\\x01\\xff\"");
  CHECK_EQ(quote(std::string(200, 'x')), str('"', std::string(80, 'x'), "…\""));
}

TEST("json: 20,000 damaged texts never crash") {
  const std::string valid = read_bytes(golden_model("c") + "/config.json");
  std::mt19937 random(1);
  size_t accepted = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::string text = valid;
    for (uint32_t edits = 1 + random() % 4; edits > 0; --edits) {
      const size_t at = random() % text.size();
      switch (random() % 3) {
        case 0:
          text[at] = char(random());
          break;
        case 1:
          text.erase(at, 1 + random() % 8);
          break;
        default:
          text.insert(at, 1, "{}[]\",:\\u0-.eE\0\xFF"[random() % 17]);
      }
    }
    try {
      accepted += parse(text).object() != nullptr;
    } catch (const Error& error) {
      if (error.code() != Code::kModelFormat) fail(__FILE__, __LINE__, error.what());
    }
  }
  CHECK(accepted > 0 && accepted < 20'000);
}
