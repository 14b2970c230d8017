// Included before module.cu, it lets a test of one kernel link without the files of the other kernels. A call of a
// missing kernel jumps to address zero.
#pragma once
#include "kernels/cuda/module.h"

namespace oss::cuda {
#define OSS_WEAK(name) __attribute__((weak)) decltype(name) name;
OSS_CUDA_KERNELS(OSS_WEAK)
#undef OSS_WEAK
}  // namespace oss::cuda
