// oss_tests [--list] [--gpu] [--exact NAME | BEGIN_OF_A_NAME ...]: runs the cases whose names begin with one of these,
// or all cases.
// --gpu: tests for every CUDA or Metal device run on the machine's GPU only, and fail if there is none.
// --exact: only the case with this name.
// OSS_SOURCE_DIR in the environment is the source folder if this program was built on another machine.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <string_view>

#include "test/native/check.h"

namespace oss::test {

static std::vector<std::string> failures;

bool gpu_only = false;

std::vector<Case>& cases() {
  static std::vector<Case> all;
  return all;
}

void fail(const char* file, int line, const std::string& message) {
  failures.push_back(str(file, ":", line, ": ", message));
}

std::string source_path(const std::string& relative) {
  const char* elsewhere = std::getenv("OSS_SOURCE_DIR");
  // Not __FILE__, which a compiler cache may make relative.
  return str(elsewhere != nullptr ? elsewhere : OSS_SOURCE_DIR, "/", relative);
}

void check_close(const char* file, int line, const std::string& what, const float* actual, const double* expected,
                 size_t size, double abs_tolerance, double rel_tolerance) {
  double largest = 0, worst = 0, dot = 0, norm_a = 0, norm_e = 0;
  size_t worst_at = 0;
  bool finite = true;
  for (size_t i = 0; i < size; ++i) largest = std::max(largest, std::fabs(expected[i]));
  for (size_t i = 0; i < size; ++i) {
    const double difference = std::fabs(double(actual[i]) - expected[i]);
    if (!(difference <= worst)) {  // also true for NaN
      finite = finite && !std::isnan(difference);
      worst = difference;
      worst_at = i;
    }
    dot += actual[i] * expected[i];
    norm_a += double(actual[i]) * actual[i];
    norm_e += expected[i] * expected[i];
  }
  if (finite && worst <= abs_tolerance + rel_tolerance * largest) return;
  fail(file, line,
       str(what, " [", size, "]: worst at ", worst_at, ": got ", actual[worst_at], ", expected ", expected[worst_at],
           "; max abs ", worst, ", max rel ", worst / largest, " (allowed ", abs_tolerance, " + ", rel_tolerance,
           " x max), cosine ", dot / std::sqrt(norm_a * norm_e)));
}

}  // namespace oss::test

int main(int argc, char** argv) {
  using namespace oss::test;
  if (argc > 1 && std::strcmp(argv[1], "--list") == 0) {
    for (const Case& test : cases()) std::printf("%s\n", test.name);
    return 0;
  }
  if (argc > 1 && std::strcmp(argv[1], "--gpu") == 0) {
    gpu_only = true;
    ++argv;
    --argc;
  }
  const bool exact = argc == 3 && std::strcmp(argv[1], "--exact") == 0;
  int passed = 0, failed = 0;
  for (const Case& test : cases()) {
    const bool wanted = exact       ? std::string_view(test.name) == argv[2]
                        : argc == 1 ? true
                                    : std::any_of(argv + 1, argv + argc, [&](const char* begin) {
                                        return std::string_view(test.name).starts_with(begin);
                                      });
    if (!wanted) continue;
    failures.clear();
    try {
      test.body();
    } catch (const std::exception& error) {
      failures.push_back(oss::str("threw: ", error.what()));
    }
    std::printf("%s %s\n", failures.empty() ? "ok" : "FAIL", test.name);
    for (const std::string& reason : failures) std::printf("  %s\n", reason.c_str());
    std::fflush(stdout);
    ++(failures.empty() ? passed : failed);
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 ? 0 : 1;
}
