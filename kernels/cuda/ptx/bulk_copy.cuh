// Asynchronous copies of runs of bytes from global to shared memory, which signal a barrier when they arrive. All lanes
// of one warp call each function, in rounds: copy_runs, later wait_copies. Each round of a barrier must be waited for
// before the next begins.
//
// On sm_90, one lane requests whole runs and the barrier counts bytes; on sm_80, each lane copies 16 bytes at a time
// and the barrier counts lanes. The data is read only once, so on sm_90 it is the first to leave L2.
//
// A run may overwrite memory that other lanes have read, after a __syncwarp: then their values are in registers, and
// the copy needs to see no ordinary stores to that memory.
#pragma once
#include <stdint.h>

namespace oss::cuda {

using CopyBarrier = uint64_t;  // in shared memory

// Called by one thread; others may use the barrier after a __syncwarp or __syncthreads.
__device__ __forceinline__ void init_copies(CopyBarrier* barrier) {
  const uint32_t at = uint32_t(__cvta_generic_to_shared(barrier));
#if __CUDA_ARCH__ >= 900
  asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;\n" ::"r"(at) : "memory");
  asm volatile("fence.proxy.async.shared::cta;\n" ::: "memory");  // makes it visible to the copy engine
#else
  asm volatile("mbarrier.init.shared.b64 [%0], 32;\n" ::"r"(at) : "memory");
#endif
}

// Addresses and sizes are multiples of 16. The instruction has 16 bits for the size in units of 16 bytes.
struct Run {
  void* to;  // in shared memory
  const void* from;
  uint32_t bytes;
};
constexpr uint32_t kMostRunBytes = 0xFFFFu * 16;

__device__ __forceinline__ void copy_run([[maybe_unused]] CopyBarrier* barrier, const Run& run) {
  const uint32_t to = uint32_t(__cvta_generic_to_shared(run.to));
#if __CUDA_ARCH__ >= 900
  const uint32_t at = uint32_t(__cvta_generic_to_shared(barrier));
  asm volatile(
      "{\n.reg .b64 once;\ncreatepolicy.fractional.L2::evict_first.b64 once, 1.0;\n"
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1], %2, [%3], "
      "once;\n}\n" ::"r"(to),
      "l"(run.from), "r"(run.bytes), "r"(at)
      : "memory");
#else
  for (uint32_t i = threadIdx.x % 32 * 16; i < run.bytes; i += 32 * 16)
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;\n" ::"r"(to + i),
                 "l"(static_cast<const char*>(run.from) + i)
                 : "memory");
#endif
}

// Begins a round of these runs.
template <typename... Runs>
__device__ __forceinline__ void copy_runs(CopyBarrier* barrier, const Runs&... runs) {
  const uint32_t at = uint32_t(__cvta_generic_to_shared(barrier));
#if __CUDA_ARCH__ >= 900
  if (threadIdx.x % 32 != 0) return;
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;\n" ::"r"(at), "r"((runs.bytes + ...))
               : "memory");
  (copy_run(barrier, runs), ...);
#else
  (copy_run(barrier, runs), ...);
  asm volatile("cp.async.mbarrier.arrive.noinc.shared.b64 [%0];\n" ::"r"(at) : "memory");
#endif
}

// Waits for the copies of a round; `odd` is 0 in the first round of a barrier, 1 in the second, 0 in the third.
__device__ __forceinline__ void wait_copies(CopyBarrier* barrier, uint32_t odd) {
  const uint32_t at = uint32_t(__cvta_generic_to_shared(barrier));
  uint32_t arrived;
  do {
#if __CUDA_ARCH__ >= 900
    asm volatile(
        "{\n.reg .pred done;\nmbarrier.try_wait.parity.shared::cta.b64 done, [%1], %2;\nselp.u32 %0, 1, 0, done;\n}\n"
        : "=r"(arrived)
        : "r"(at), "r"(odd)
        : "memory");
#else
    asm volatile(
        "{\n.reg .pred done;\nmbarrier.test_wait.parity.shared.b64 done, [%1], %2;\nselp.u32 %0, 1, 0, done;\n}\n"
        : "=r"(arrived)
        : "r"(at), "r"(odd)
        : "memory");
#endif
  } while (arrived == 0);
}

// Loads up to kMostRunBytes into L2 asynchronously; called by one thread. Only sm_90 has an engine for it.
__device__ __forceinline__ void prefetch_run([[maybe_unused]] const void* from, [[maybe_unused]] uint32_t bytes) {
#if __CUDA_ARCH__ >= 900
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;\n" ::"l"(from), "r"(bytes) : "memory");
#endif
}

}  // namespace oss::cuda
