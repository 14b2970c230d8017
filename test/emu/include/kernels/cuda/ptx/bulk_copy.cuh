// Emulated: see kernels/cuda/ptx/bulk_copy.cuh.
#pragma once
#include <cstdint>

#include "test/emu/block.h"

namespace oss::cuda {

using CopyBarrier = uint64_t;

inline void init_copies(CopyBarrier* barrier, emu::Where where = emu::Where::current()) {
  emu::init_copies(barrier, where);
}
struct Run {
  void* to;
  const void* from;
  uint32_t bytes;
};
constexpr uint32_t kMostRunBytes = 0xFFFFu * 16;

template <typename... Runs>
void copy_runs_at(emu::Where where, CopyBarrier* barrier, const Runs&... runs) {
  if (emu::current->lane != 0) return;
  emu::begin_copies(barrier, (runs.bytes + ...), where);
  (emu::copy_run(barrier, runs.to, runs.from, runs.bytes, where), ...);
}
inline void copy_runs(CopyBarrier* barrier, const Run& run, emu::Where where = emu::Where::current()) {
  copy_runs_at(where, barrier, run);
}
inline void copy_runs(CopyBarrier* barrier, const Run& a, const Run& b, emu::Where where = emu::Where::current()) {
  copy_runs_at(where, barrier, a, b);
}
inline void wait_copies(CopyBarrier* barrier, uint32_t odd, emu::Where where = emu::Where::current()) {
  emu::wait_copies(barrier, odd, where);
}

// Only checks that the range exists; a prefetch has no visible result.
inline void prefetch_run(const void* from, uint32_t bytes, emu::Where where = emu::Where::current()) {
  emu::prefetch_run(from, bytes, where);
}

}  // namespace oss::cuda
