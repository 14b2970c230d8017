// Emulated: see kernels/cuda/ptx/bulk_copy.cuh.
#pragma once
#include <cstdint>

#include "test/emu/block.h"

namespace oss::cuda {

using CopyBarrier = uint64_t;

inline void init_copies(CopyBarrier* barrier, emu::Where where = emu::Where::current()) {
  emu::init_copies(barrier, where);
}
inline void begin_copies(CopyBarrier* barrier, uint32_t bytes, emu::Where where = emu::Where::current()) {
  if (emu::current->lane == 0) emu::begin_copies(barrier, bytes, where);
}
inline void copy_run(CopyBarrier* barrier, void* shared_to, const void* from, uint32_t bytes,
                     emu::Where where = emu::Where::current()) {
  if (emu::current->lane == 0) emu::copy_run(barrier, shared_to, from, bytes, where);
}
inline void end_copies(CopyBarrier*) {}
inline void wait_copies(CopyBarrier* barrier, uint32_t odd, emu::Where where = emu::Where::current()) {
  emu::wait_copies(barrier, odd, where);
}

// The range must be there; nobody can tell whether it has moved.
inline void prefetch_run(const void* from, uint32_t bytes, emu::Where where = emu::Where::current()) {
  emu::prefetch_run(from, bytes, where);
}

}  // namespace oss::cuda
