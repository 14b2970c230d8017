// Numbers of a schema: up to the digits of 64 bits, bounds of the same size, steps.
#include <random>

#include "native/base/str.h"
#include "test/native/grammar_harness.h"

namespace oss::grammar {
namespace {

TEST("grammar: integers of 64 bits in every place of a number") {
  const std::vector<std::string> wide = {"1764400000000000",    "9007199254740993",     "1152921504606846977",
                                         "9223372036854775807", "-9223372036854775808", "18446744073709551615"};
  check({json_schema(R"({"type":"integer"})"),
         wide,
         {"18446744073709551616", "-9223372036854775809", "99999999999999999999", "-0", "01", "1e3"}});
  for (const char* schema : {R"({"type":"number"})", "true", "{}", R"({"type":["integer","string"]})"})
    check({json_schema(schema), wide, {}});
  for (const std::string& number : wide) {
    const std::string object = R"({"id":)" + number + R"(,"in":[)" + number + "]}";
    check({R"({"kind":"text","format":{"type":"json_object"}})", {object}, {}});
    check({json_schema(R"({"type":"object","additionalProperties":true})"), {object}, {}});
  }
  // Every digit of a float64.
  check({json_schema(R"({"type":"number"})"),
         {"0.30000000000000004", "-0.00012345678901234567", "1764400000.123456"},
         {}});
}

TEST("grammar: bounds are exact to the last digit") {
  struct Bound {
    const char *keyword, *at;
    std::vector<std::string> accepted, refused;
  };
  const Bound bounds[] = {
      {"minimum", "1000000000000000", {"1000000000000000", "9223372036854775807"}, {"999999999999999", "0"}},
      {"minimum", "1152921504606846976", {"1152921504606846976", "1152921504606846977"}, {"1152921504606846975"}},
      {"exclusiveMinimum", "9007199254740992", {"9007199254740993"}, {"9007199254740992", "9007199254740991"}},
      {"maximum", "9223372036854775807", {"9223372036854775807", "-1"}, {"9223372036854775808"}},
      {"exclusiveMaximum", "9007199254740993", {"9007199254740992"}, {"9007199254740993", "9007199254740994"}},
      {"minimum", "-9223372036854775808", {"-9223372036854775808", "5"}, {"-9223372036854775809"}},
      {"maximum", "-9007199254740993", {"-9007199254740993"}, {"-9007199254740992", "0"}},
      // The spellings of other writers.
      {"maximum", "1e18", {"1000000000000000000"}, {"1000000000000000001"}},
      {"minimum", "1152921504606846976.0", {"1152921504606846976"}, {"1152921504606846975"}},
      {"minimum", "1.5e3", {"1500"}, {"1499"}},
      {"maximum", "1.7976931348623157e+308", {"18446744073709551615"}, {}},
      {"minimum",
       "100000000000000000000000",
       {"100000000000000000000000", "123456789012345678901234"},
       {"99999999999999999999999"}},
  };
  for (const auto& [keyword, at, accepted, refused] : bounds) {
    check({json_schema(str(R"({"type":"integer",")", keyword, "\":", at, "}")), accepted, refused});
  }
  check({json_schema(R"({"type":"integer","minimum":9007199254740993,"maximum":9007199254740995})"),
         {"9007199254740993", "9007199254740994", "9007199254740995"},
         {"9007199254740992", "9007199254740996"}});
  check({json_schema(R"({"allOf":[{"type":"integer","minimum":9007199254740992},{"minimum":9007199254740993}]})"),
         {"9007199254740993"},
         {"9007199254740992"}});
  check({json_schema(R"({"enum":[9007199254740993,12345678901234567890]})"),
         {"9007199254740993", "12345678901234567890"},
         {"9007199254740992", "12345678901234567000"}});
  check({json_schema(R"({"const":1e3})"), {"1000"}, {"1e3", "1"}});
  check({json_schema(R"({"type":"integer","enum":[1.0,2.5,1e20]})"), {"1", "100000000000000000000"}, {"2.5", "1.0"}});
}

TEST("grammar: numbers within bounds have room for their fractions") {
  check({json_schema(R"({"type":"number","minimum":0,"maximum":1})"),
         {"0", "1", "0.12345678", "0.30000000000000004", "1.0"},
         {"1.0000001", "-0.1", "-0", "2"}});
  check({json_schema(R"({"type":"number","minimum":0})"),
         {"1764400000.5", "1764400000123.25", "18446744073709551615"},
         {"-1"}});
  check({json_schema(R"({"type":"number","exclusiveMinimum":-1,"exclusiveMaximum":1})"),
         {"0.9999999999999999", "-0.9999999999999999", "0"},
         {"1", "-1", "1.0", "0.99999999999999999999"}});
  check({json_schema(R"({"type":"number","minimum":0.1234567890123456789})"),
         {"0.1234567890123456789", "0.2", "5"},
         {"0.1234567890123456", "0.1"}});
  check({json_schema(R"({"type":"number","minimum":-3.4028234663852886e+38,"maximum":3.4028234663852886e+38})"),
         {"-12.5", "99999999999999999999"},
         {"1e5"}});
  check({json_schema(R"({"type":"number","minimum":5e-324,"maximum":3})"),
         {"0.5", "3", "0.00000000000000001"},
         {"0", "3.1"}});
  // Draft 4 and OpenAPI 3.0.
  check({json_schema(R"({"type":"number","minimum":0,"exclusiveMinimum":true})"), {"0.5", "1"}, {"0", "0.0", "-1"}});
  check({json_schema(R"({"type":"integer","maximum":9,"exclusiveMaximum":true,"exclusiveMinimum":false})"),
         {"8"},
         {"9"}});
}

// In millionths, so that the test needs no rounding.
bool is_multiple(int64_t millionths, int64_t step) { return millionths % step == 0; }

std::string text_of(int64_t millionths) {
  const int64_t size = std::abs(millionths);
  std::string fraction = std::to_string(size % 1'000'000 + 1'000'000).substr(1);
  while (!fraction.empty() && fraction.back() == '0') fraction.pop_back();
  return (millionths < 0 ? "-" : "") + std::to_string(size / 1'000'000) + (fraction.empty() ? "" : "." + fraction);
}

TEST("grammar: multiples, whole or not, thousands of them") {
  struct Step {
    const char* text;
    int64_t millionths;
  };
  const Step steps[] = {{"0.01", 10'000}, {"0.5", 500'000}, {"2.5", 2'500'000},     {"0.125", 125'000},
                        {"7", 7'000'000}, {"1", 1'000'000}, {"3600", 3600'000'000}, {"1e-6", 1}};
  std::mt19937_64 random(5);
  for (const auto& [text, step] : steps) {
    struct Range {
      int64_t least, most;
    };
    for (const auto& [least, most] : {Range{-5'000'000, 12'345'678}, Range{250'000, 8'000'000'000}}) {
      const auto constraint = compiled(json_schema(str(R"({"type":"number","multipleOf":)", text, R"(,"minimum":)",
                                                       text_of(least), R"(,"maximum":)", text_of(most), "}")));
      for (int i = 0; i < 60; ++i) {
        int64_t value = least - 1'000'000 + int64_t(random() % uint64_t(most - least + 2'000'000));
        if (i % 2 == 0) value -= value % step;
        const bool fits = least <= value && value <= most && is_multiple(value, step);
        if (accepts(constraint, text_of(value)) != fits) {
          test::fail(__FILE__, __LINE__,
                     str(text_of(value), fits ? " is refused" : " is accepted", " as a multiple of ", text));
        }
      }
    }
  }
  check({json_schema(R"({"type":"number","multipleOf":0.01})"),
         {"0", "1", "19.99", "-0.05", "12345678901234567890.5", "2.50"},
         {"0.001", "19.999", "-0", "1e2", "2.500"}});
  check({json_schema(R"({"type":"integer","multipleOf":0.5})"), {"1", "-3"}, {"0.5", "1.0"}});
  check({json_schema(R"({"type":"integer","multipleOf":2.5})"), {"0", "5", "-10"}, {"2", "2.5", "3"}});
  check({json_schema(R"({"type":"integer","multipleOf":86400})"), {"86400", "864000000"}, {"86401", "43200"}});
  check({json_schema(R"({"type":"integer","multipleOf":1000003,"minimum":0,"maximum":9000000})"),
         {"0", "1000003", "8000024"},
         {"1000004", "9000027"}});
  check({json_schema(R"({"enum":[1,1.5,2],"multipleOf":1,"maximum":1.5})"), {"1"}, {"1.5", "2"}});
  const auto refused = [](const char* schema, const char* why) {
    CHECK_THROWS(Code::kInvalidArgument, why, compiled(json_schema(schema)));
  };
  refused(R"({"type":"number","multipleOf":0})", "is not above zero");
  refused(R"({"type":"number","multipleOf":-2})", "is not above zero");
  refused(R"({"type":"integer","multipleOf":1000003})", "would take too many nodes");
  refused(R"({"type":"number","multipleOf":1e-20})", "digits on one side of the point");
}

}  // namespace
}  // namespace oss::grammar
