// Loads and prefetches with cache hints.
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace oss::cuda {

// Loads 16 bytes that are read once: weights bypass L1, which is left to the activations.
__device__ __forceinline__ uint4 load_streaming(const uint4* from) {
  uint4 value;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
               : "l"(from));
  return value;
}

__device__ __forceinline__ uint32_t load_streaming(const uint32_t* from) {
  uint32_t value;
  asm volatile("ld.global.nc.L1::no_allocate.u32 %0, [%1];\n" : "=r"(value) : "l"(from));
  return value;
}

// Loads the 128 bytes around `at` into L2 asynchronously.
__device__ __forceinline__ void prefetch_line(const void* at) { asm volatile("prefetch.global.L2 [%0];\n" ::"l"(at)); }

// All threads of a block must call.
__device__ __forceinline__ void prefetch_lines(const void* from, size_t bytes) {
  for (size_t i = threadIdx.x * 128u; i < bytes; i += blockDim.x * 128u)
    prefetch_line(static_cast<const char*>(from) + i);
}

}  // namespace oss::cuda
