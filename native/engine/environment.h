// The environment variables that native code reads: GPT_OSS_ISA (native/backend/cpu/choose_kernels.h), GPT_OSS_TRACE
// (native/base/trace.h), GPT_OSS_DUMP (native/base/dump.h).
#pragma once
#include <string>
#include <vector>

#include "native/base/error.h"

namespace oss {

struct EnvironmentProblem {
  std::string name;
  Error error;  // names the variable, its value, and what was expected
};
std::vector<EnvironmentProblem> environment_problems();

}  // namespace oss
