// Asynchronous copies from global to shared memory (sm_80). A thread commits its copies as groups and waits for all but
// the newest groups. When a block waits for copies of all threads, a __syncthreads() must follow the wait.
#pragma once
#include <stdint.h>

namespace oss::cuda {

// Copies 16 bytes past L1; both addresses are aligned to 16. If not `valid`, the copy writes zeros and reads nothing.
__device__ __forceinline__ void cp_async_16(void* shared_to, const void* from, bool valid = true) {
  const uint32_t to = uint32_t(__cvta_generic_to_shared(shared_to));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(to), "l"(from), "r"(valid ? 16 : 0) : "memory");
}

__device__ __forceinline__ void cp_async_commit() { asm volatile("cp.async.commit_group;\n" ::: "memory"); }

// Waits until at most `kPending` of the newest groups are in flight.
template <int kPending>
__device__ __forceinline__ void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(kPending) : "memory");
}

}  // namespace oss::cuda
