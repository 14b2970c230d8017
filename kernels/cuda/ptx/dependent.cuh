// Programmatic dependent launch (sm_90): a kernel may begin while the previous one in the stream still runs, once each
// of its blocks has ended or allowed it. Older architectures run launches one after another; there both functions do
// nothing. kernels/cuda/dependent.cuh documents their use.
#pragma once

namespace oss::cuda {

// Waits until the previous launch has ended and all its writes can be read.
__device__ __forceinline__ void grid_dependency_wait() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;\n" ::: "memory");
#endif
}

// Allows the next launch to begin, as far as this block is concerned.
__device__ __forceinline__ void grid_dependency_launch() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;\n" ::: "memory");
#endif
}

}  // namespace oss::cuda
