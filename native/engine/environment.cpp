#include "native/engine/environment.h"

#include "native/backend/cpu/choose_kernels.h"
#include "native/base/dump.h"
#include "native/base/trace.h"

namespace oss {

std::vector<EnvironmentProblem> environment_problems() {
  std::vector<EnvironmentProblem> problems;
  try {
    cpu::check_environment();
  } catch (const Error& error) {
    problems.push_back({"GPT_OSS_ISA", error});
  }
  if (const auto& problem = Trace::problem()) problems.push_back({"GPT_OSS_TRACE", *problem});
  if (const auto problem = Dump::problem()) problems.push_back({"GPT_OSS_DUMP", *problem});
  return problems;
}

}  // namespace oss
