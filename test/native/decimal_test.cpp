// Numbers with exactly the written value.
#include "native/base/decimal.h"

#include "test/native/check.h"

namespace oss {
namespace {

TEST("decimal: one spelling of each number") {
  const std::pair<const char*, const char*> rows[] = {{"0", "0"},
                                                      {"-0.00e5", "0"},
                                                      {"1.50", "1.5"},
                                                      {"15e-1", "1.5"},
                                                      {"-1E3", "-1000"},
                                                      {"0.001", "0.001"},
                                                      {"1e-7", "1e-7"},
                                                      {"12.5e-9", "1.25e-8"},
                                                      {"1e21", "1e+21"},
                                                      {"1e20", "100000000000000000000"},
                                                      {"9223372036854775807", "9223372036854775807"},
                                                      {"12345678901234567890.5", "12345678901234567890.5"},
                                                      {"1e99999999999999999999", "1e+1000000000"}};
  for (const auto& [written, text] : rows) CHECK_EQ(Decimal::of(written).text(), text);
  CHECK_EQ(Decimal::of(0.1).text(), "0.1");
  CHECK_EQ(Decimal(int64_t(-42)).text(), "-42");
}

TEST("decimal: order") {
  const char* ascending[] = {"-1e30",  "-12.5", "-12.25", "-1",  "-0.001",           "0",
                             "1e-300", "0.1",   "0.11",   "0.2", "9007199254740992", "9007199254740993",
                             "1e400"};
  for (size_t i = 0; i < std::size(ascending); ++i) {
    for (size_t k = 0; k < std::size(ascending); ++k) {
      const int order = compare(Decimal::of(ascending[i]), Decimal::of(ascending[k]));
      CHECK_EQ(order, int(i > k) - int(i < k));
    }
  }
}

TEST("decimal: scaled to units") {
  const auto scaled = [](const char* text, int places) { return Decimal::of(text).scaled(places); };
  CHECK(scaled("12.345", 2).units == 1234 && !scaled("12.345", 2).is_exact);
  CHECK(scaled("12.345", 3).units == 12345 && scaled("12.345", 3).is_exact);
  CHECK(scaled("12.345", 5).units == 1234500 && scaled("12.345", 5).is_exact);
  CHECK(scaled("0.0004", 2).units == 0 && !scaled("0.0004", 2).is_exact);
  CHECK(scaled("0", 2).units == 0 && scaled("0", 2).is_exact);
  CHECK(scaled("1e300", 0).units == wide_power_of_ten(kWideDigits) && !scaled("1e300", 0).is_exact);
  CHECK_EQ(wide_text(wide_power_of_ten(20) + 7), "100000000000000000007");
}

}  // namespace
}  // namespace oss
