// Loads that say what the caches should make of them.
#pragma once
#include <stdint.h>

namespace oss::cuda {

// 16 bytes that are read once: weights go past L1, which belongs to the activations.
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

}  // namespace oss::cuda
