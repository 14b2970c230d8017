// Sums and maxima over the 32 lanes of a warp: every lane gets the result, summed in a fixed order.
#pragma once

namespace oss::cuda {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xFFFFFFFFu;

// Marks a value that is equal in all lanes. A shuffle tells the compiler, which then computes with it once per warp.
__device__ __forceinline__ int same_in_warp(int value) { return __shfl_sync(kAllLanes, value, 0); }

template <typename T>
__device__ __forceinline__ T warp_sum(T value) {
  for (int offset = kWarp / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(kAllLanes, value, offset);
  return value;
}

template <typename T>
__device__ __forceinline__ T warp_max(T value) {
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    const T other = __shfl_xor_sync(kAllLanes, value, offset);
    value = value > other ? value : other;
  }
  return value;
}

}  // namespace oss::cuda
