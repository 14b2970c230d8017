// Sums, extremes and prefix sums over the threads of a block, each in a fixed order. All threads must call; kThreads is
// a multiple of 32.
#pragma once
#include <stdint.h>

#include "kernels/cuda/warp.cuh"

namespace oss::cuda {

// combine(a, b) must be commutative; floating-point sums are the same in every thread.
template <int kThreads, typename T, typename Combine>
__device__ __forceinline__ T block_reduce(T value, Combine combine) {
  constexpr int kWarps = kThreads / kWarp;
  __shared__ T of_warp[kWarps];
  for (int offset = kWarp / 2; offset > 0; offset /= 2)
    value = combine(value, __shfl_xor_sync(kAllLanes, value, offset));
  __syncthreads();  // some threads may still read the last call's values
  if (threadIdx.x % kWarp == 0) of_warp[threadIdx.x / kWarp] = value;
  __syncthreads();
  value = of_warp[0];
  for (int warp = 1; warp < kWarps; ++warp) value = combine(value, of_warp[warp]);
  return value;
}

template <int kThreads, typename T>
__device__ __forceinline__ T block_sum(T value) {
  return block_reduce<kThreads>(value, [](T a, T b) { return a + b; });
}
template <int kThreads, typename T>
__device__ __forceinline__ T block_min(T value) {
  return block_reduce<kThreads>(value, [](T a, T b) { return b < a ? b : a; });
}
template <int kThreads, typename T>
__device__ __forceinline__ T block_max(T value) {
  return block_reduce<kThreads>(value, [](T a, T b) { return a < b ? b : a; });
}

template <typename T>
struct Prefix {
  T before, total;  // before: of the lower threads; total: of all threads
};

template <int kThreads, typename T>
__device__ __forceinline__ Prefix<T> block_prefix(T value) {
  constexpr int kWarps = kThreads / kWarp;
  __shared__ T of_warp[kWarps];
  const int lane = int(threadIdx.x) % kWarp, warp = int(threadIdx.x) / kWarp;
  T sum = value;  // the sum of this lane and the lower ones
  for (int offset = 1; offset < kWarp; offset *= 2) {
    const T below = __shfl_up_sync(kAllLanes, sum, offset);
    if (lane >= offset) sum += below;
  }
  T before = __shfl_up_sync(kAllLanes, sum, 1);
  if (lane == 0) before = T(0);
  __syncthreads();
  if (lane == kWarp - 1) of_warp[warp] = sum;
  __syncthreads();
  T total = T(0);
  for (int other = 0; other < kWarps; ++other) {
    if (other == warp) before += total;
    total += of_warp[other];
  }
  return {before, total};
}

}  // namespace oss::cuda
