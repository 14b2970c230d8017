// Copies of runs of bytes from global to shared memory that run beside the arithmetic and tell a barrier of their arrival.
// All lanes of one warp call each function, in rounds: begin_copies, copy_run for each run, end_copies; later wait_copies.
// The rounds of a barrier follow each other: one is waited for before the next begins.
//
// On sm_90 one lane asks for a whole run and the barrier counts bytes; on sm_80 each lane copies 16 bytes at a time and
// the barrier counts lanes. Addresses and sizes are multiples of 16. What is copied is read once: on sm_90 it is the first to
// leave L2.
#pragma once
#include <stdint.h>

namespace oss::cuda {

using CopyBarrier = uint64_t;  // in shared memory

// By one thread; others may use it behind a __syncwarp or __syncthreads.
__device__ __forceinline__ void init_copies(CopyBarrier* barrier) {
  const uint32_t at = uint32_t(__cvta_generic_to_shared(barrier));
#if __CUDA_ARCH__ >= 900
  asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;\n" ::"r"(at) : "memory");
  asm volatile("fence.proxy.async.shared::cta;\n" ::: "memory");  // the copy engine sees it, too
#else
  asm volatile("mbarrier.init.shared.b64 [%0], 32;\n" ::"r"(at) : "memory");
#endif
}

// `bytes` of all runs of this round together.
__device__ __forceinline__ void begin_copies([[maybe_unused]] CopyBarrier* barrier, [[maybe_unused]] uint32_t bytes) {
#if __CUDA_ARCH__ >= 900
  const uint32_t at = uint32_t(__cvta_generic_to_shared(barrier));
  if (threadIdx.x % 32 == 0)
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;\n" ::"r"(at), "r"(bytes) : "memory");
#endif
}

__device__ __forceinline__ void copy_run([[maybe_unused]] CopyBarrier* barrier, void* shared_to, const void* from,
                                         uint32_t bytes) {
  const uint32_t to = uint32_t(__cvta_generic_to_shared(shared_to));
#if __CUDA_ARCH__ >= 900
  const uint32_t at = uint32_t(__cvta_generic_to_shared(barrier));
  if (threadIdx.x % 32 == 0)
    asm volatile(
        "{\n.reg .b64 once;\ncreatepolicy.fractional.L2::evict_first.b64 once, 1.0;\n"
        "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1], %2, [%3], once;\n}\n" ::
            "r"(to),
        "l"(from), "r"(bytes), "r"(at)
        : "memory");
#else
  for (uint32_t i = threadIdx.x % 32 * 16; i < bytes; i += 32 * 16)
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;\n" ::"r"(to + i), "l"(static_cast<const char*>(from) + i)
                 : "memory");
#endif
}

__device__ __forceinline__ void end_copies([[maybe_unused]] CopyBarrier* barrier) {
#if __CUDA_ARCH__ < 900
  const uint32_t at = uint32_t(__cvta_generic_to_shared(barrier));
  asm volatile("cp.async.mbarrier.arrive.noinc.shared.b64 [%0];\n" ::"r"(at) : "memory");
#endif
}

// Until the copies of a round have arrived; `odd` is 0 in the first round of a barrier, 1 in the second, 0 in the third.
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

// Brings a run into L2, sometime; by one thread. Nothing waits for it. Only sm_90 has an engine for it.
__device__ __forceinline__ void prefetch_run([[maybe_unused]] const void* from, [[maybe_unused]] uint32_t bytes) {
#if __CUDA_ARCH__ >= 900
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;\n" ::"l"(from), "r"(bytes) : "memory");
#endif
}

}  // namespace oss::cuda
