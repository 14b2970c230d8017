// Included before module.cu, lets a test of one kernel be linked without the files of the others. Calling what is not
// there is a jump to zero.
#pragma once
#include "kernels/cuda/module.h"

namespace oss::cuda {
#define OSS_WEAK(name) __attribute__((weak)) decltype(name) name;
OSS_CUDA_KERNELS(OSS_WEAK)
#undef OSS_WEAK
}  // namespace oss::cuda
