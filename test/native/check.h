// The C++ test harness: one executable, no package to install (a fresh machine has only g++ and npm).
//
//   TEST("rms_norm: zero rows stay zero") { CHECK(y == 0); CHECK_EQ(a, b); CHECK_THROWS(code, "part of message", f()); }
//
// Prints one line per case, "ok NAME" or "FAIL NAME" followed by indented reasons; test/native.test.ts reads them.
#pragma once
#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "native/base/error.h"
#include "native/base/str.h"

namespace oss::test {

struct Case {
  const char* name;
  void (*body)();
};
std::vector<Case>& cases();
extern bool gpu_only;  // tests for every CUDA device run on a real device only
void fail(const char* file, int line, const std::string& message);  // records the failure; the case continues

struct Register {
  Register(const char* name, void (*body)()) { cases().push_back({name, body}); }
};

// The repository root, so that golden data is found from any working directory.
std::string source_path(const std::string& relative);

#define OSS_JOIN_(a, b) a##b
#define OSS_JOIN(a, b) OSS_JOIN_(a, b)
#define TEST(name)                                                                                             \
  static void OSS_JOIN(test_body_, __LINE__)();                                                                \
  static const ::oss::test::Register OSS_JOIN(test_register_, __LINE__)(name, OSS_JOIN(test_body_, __LINE__)); \
  static void OSS_JOIN(test_body_, __LINE__)()

#define CHECK(condition)                                                 \
  do {                                                                   \
    if (!(condition)) ::oss::test::fail(__FILE__, __LINE__, #condition); \
  } while (0)

#define CHECK_EQ(actual, expected)                                                                                   \
  do {                                                                                                               \
    const auto oss_actual = (actual);                                                                                \
    const auto oss_expected = (expected);                                                                            \
    if (!(oss_actual == oss_expected))                                                                               \
      ::oss::test::fail(__FILE__, __LINE__, ::oss::str(#actual, ": expected ", oss_expected, ", got ", oss_actual)); \
  } while (0)

// The statement must throw oss::Error with this code and a message that contains `part`.
#define CHECK_THROWS(expected_code, part, statement)                                                             \
  do {                                                                                                           \
    try {                                                                                                        \
      statement;                                                                                                 \
      ::oss::test::fail(__FILE__, __LINE__, "did not throw: " #statement);                                       \
    } catch (const ::oss::Error& error) {                                                                        \
      if (error.code() != (expected_code) || std::string(error.what()).find(part) == std::string::npos)          \
        ::oss::test::fail(__FILE__, __LINE__,                                                                    \
                          ::oss::str("expected ", ::oss::code_name(expected_code), " with \"", part, "\", got ", \
                                     ::oss::code_name(error.code()), ": ", error.what()));                       \
    }                                                                                                            \
  } while (0)

// Compares arrays; prints shape, index, both values, max abs, max rel and cosine on failure.
// Passes when every |actual - expected| <= abs_tolerance + rel_tolerance * max|expected|.
void check_close(const char* file, int line, const std::string& what, const float* actual, const double* expected,
                 size_t size, double abs_tolerance, double rel_tolerance);
#define CHECK_CLOSE(what, actual, expected, size, abs_tolerance, rel_tolerance) \
  ::oss::test::check_close(__FILE__, __LINE__, what, actual, expected, size, abs_tolerance, rel_tolerance)

}  // namespace oss::test
