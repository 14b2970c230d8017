// Emulated: see kernels/cuda/ptx/memory.cuh.
#pragma once
#include "test/emu/include/cuda_runtime.h"

namespace oss::cuda {

inline uint4 load_streaming(const uint4* from, emu::Where where = emu::Where::current()) {
  emu::check_aligned(from, 16, where);
  return *from;
}
inline uint32_t load_streaming(const uint32_t* from, emu::Where where = emu::Where::current()) {
  emu::check_aligned(from, 4, where);
  return *from;
}

// A prefetch has no visible result.
inline void prefetch_lines(const void*, size_t) {}

}  // namespace oss::cuda
