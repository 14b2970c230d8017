// The choice of a token's experts, for all kernels that make it: the top_k by logit, best first, on equal logits the
// lower expert first. Weights are exp(logit - largest) / Σ over the chosen, summed in that order.
#pragma once
#include <stdint.h>

#include "kernels/cuda/warp.cuh"

namespace oss::cuda {

constexpr int kMaxPerLane = 8;  // experts per lane

// Orders by logit, then lower expert first. Never 0, which marks a chosen expert; a NaN has a place too.
__device__ __forceinline__ unsigned long long rank_of(float logit, int expert) {
  const uint32_t bits = __float_as_uint(logit + 0.0f);  // -0 is 0
  const uint32_t ordered = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
  return (unsigned long long)(ordered) << 32 | uint32_t(~expert);
}
__device__ __forceinline__ int expert_of(unsigned long long rank) { return int(~uint32_t(rank)); }
__device__ __forceinline__ float logit_of(unsigned long long rank) {
  const uint32_t ordered = uint32_t(rank >> 32);
  return __uint_as_float(ordered & 0x80000000u ? ordered & 0x7FFFFFFFu : ~ordered);
}

struct Choice {
  int expert;
  float weight;
};

// One warp per token; lane l holds the experts l, l + 32, ... Lane k < top_k gets the k-th best.
__device__ __forceinline__ Choice choose_experts(int experts, int top_k, const float* logits /*[experts], past L1*/) {
  const int lane = threadIdx.x % kWarp;
  unsigned long long ranks[kMaxPerLane];
#pragma unroll
  for (int i = 0; i < kMaxPerLane; ++i) {
    const int expert = i * kWarp + lane;
    ranks[i] = expert < experts ? rank_of(__ldcg(logits + expert), expert) : 0;
  }
  unsigned long long mine = 0;  // lane k: the k-th best
  for (int k = 0; k < top_k; ++k) {
    unsigned long long best = 0;
#pragma unroll
    for (int i = 0; i < kMaxPerLane; ++i) best = ranks[i] > best ? ranks[i] : best;
    best = warp_max(best);
#pragma unroll
    for (int i = 0; i < kMaxPerLane; ++i) ranks[i] = ranks[i] == best ? 0 : ranks[i];
    if (lane == k) mine = best;
  }
  const float logit = logit_of(mine), largest = __shfl_sync(kAllLanes, logit, 0), e = expf(logit - largest);
  float total = 0;
  for (int k = 0; k < top_k; ++k) total += __shfl_sync(kAllLanes, e, k);
  return {expert_of(mine), e / total};
}

}  // namespace oss::cuda
