// Programmatic dependent launch (sm_90): a kernel may begin while the one before it in the stream still runs, as soon as
// every block of that one has ended or allowed it. Architectures without it run launches one after another; there both
// functions are nothing. kernels/cuda/dependent.cuh says how kernels use them.
#pragma once

namespace oss::cuda {

// Until the launch before has ended and all that it wrote can be read.
__device__ __forceinline__ void grid_dependency_wait() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;\n" ::: "memory");
#endif
}

// This block does not mind if the next launch begins.
__device__ __forceinline__ void grid_dependency_launch() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;\n" ::: "memory");
#endif
}

}  // namespace oss::cuda
