#include "kernels/cpu/dispatch.h"

#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "native/base/error.h"
#include "native/base/str.h"

namespace oss::cpu {

namespace scalar {
extern const Kernels kKernels;
}
#if defined(__x86_64__)
namespace avx2 {
extern const Kernels kKernels;
}
namespace avx512 {
extern const Kernels kKernels;
}
#elif defined(__aarch64__)
namespace neon {
extern const Kernels kKernels;
}
#endif

static std::vector<const Kernels*> detect() {
  std::vector<const Kernels*> found;
#if defined(__x86_64__)
  // These also ask whether the operating system saves the registers.
  const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                        __builtin_cpu_supports("f16c") && __builtin_cpu_supports("bmi2");
  const bool has_avx512 = has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                          __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (has_avx512) found.push_back(&avx512::kKernels);
  if (has_avx2) found.push_back(&avx2::kKernels);
#elif defined(__aarch64__)
  found.push_back(&neon::kKernels);
#endif
  found.push_back(&scalar::kKernels);
  return found;
}

std::span<const Kernels* const> available_kernels() {
  static const auto& found = *new std::vector<const Kernels*>(detect());  // never destroyed: engine threads may outlive the exit of main()
  return found;
}

const Kernels& choose_kernels() {
  const auto available = available_kernels();
  const char* wanted = std::getenv("GPT_OSS_ISA");
  if (wanted == nullptr || *wanted == '\0') return *available.front();
  std::string names;
  for (const Kernels* kernels : available) {
    if (std::strcmp(kernels->isa, wanted) == 0) return *kernels;
    names += str(names.empty() ? "" : ", ", kernels->isa);
  }
  throw Error(Code::kUnsupported,
              str("GPT_OSS_ISA asks for \"", wanted, "\", which this machine does not have; it has ", names));
}

}  // namespace oss::cpu
