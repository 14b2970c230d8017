// Texts for CUDA errors.
#pragma once
#include <string>

#include "kernels/cuda/module.h"

namespace oss {

// Whether CUDA keeps returning this error until the process ends. A kernel's fault destroys the CUDA context of the
// process: every engine of the process on that GPU ends, and no new engine can be made there.
bool lasts_until_the_process_ends(cuda::Status);

// The module's text for an error, plus advice if the error lasts.
std::string cuda_error_text(const cuda::Module&, cuda::Status);

}  // namespace oss
