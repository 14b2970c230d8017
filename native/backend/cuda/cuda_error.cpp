#include "native/backend/cuda/cuda_error.h"

#include <algorithm>

#include "native/base/str.h"

namespace oss {

// Values of cudaError_t, defined here because the build does not need its header. For all but the first two, its
// documentation says: "the process must be terminated and relaunched". The first two lose the context as well.
bool lasts_until_the_process_ends(cuda::Status status) {
  constexpr cuda::Status kLasting[] = {
      214,  // an uncorrectable ECC error
      220,  // an uncorrectable NVLink error
      700,  // an illegal address
      702,  // a kernel took too long
      710,  // an assertion
      714,  // the hardware's stack
      715,  // an illegal instruction
      716,  // a misaligned address
      717,  // an address space
      718,  // a program counter
      719,  // any other fault of a kernel
      721,  // tensor memory was not given back
  };
  return std::ranges::find(kLasting, status) != std::end(kLasting);
}

std::string cuda_error_text(const cuda::Module& module, cuda::Status status) {
  const char* advice = "; restart the process: until then it cannot use this GPU any more";
  return str(module.explain(status), lasts_until_the_process_ends(status) ? advice : "");
}

}  // namespace oss
