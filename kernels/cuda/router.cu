// Router:  index[t,:] = the top_k experts by logit, best first, on equal logits the lower expert first
//          weight[t,k] = exp(logits[t, index[t,k]] - largest) / Σ over the chosen, summed in the order of k
//   logits  [tokens, experts]  f32      index, weight  [tokens, top_k]      experts <= 256, top_k <= 32
//
// Traffic: nothing. A launch, one trip to L2 and five shuffles for each of the top_k are the cost.
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/warp.cuh"

namespace oss::cuda {
namespace {

constexpr int kTokensPerBlock = 4;
constexpr int kMaxPerLane = 8;  // experts

// Orders by logit, then lower expert first. Never 0, which stands for a choice already made; a NaN is somewhere, too.
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

// One warp per token; lane l has the experts l, l + 32, ...
__global__ void router_kernel(RouterArgs args, const int32_t* num_tokens, const float* logits /*[tokens, experts]*/,
                              int32_t* index /*[tokens, top_k]*/, float* weight /*[tokens, top_k]*/) {
  const int token = blockIdx.x * kTokensPerBlock + threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  if (token >= *num_tokens) return;
  unsigned long long ranks[kMaxPerLane];
#pragma unroll
  for (int i = 0; i < kMaxPerLane; ++i) {
    const int expert = i * kWarp + lane;
    ranks[i] = expert < args.experts ? rank_of(logits[size_t(token) * args.experts + expert], expert) : 0;
  }
  unsigned long long mine = 0;  // lane k: the k-th best
  for (int k = 0; k < args.top_k; ++k) {
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
  for (int k = 0; k < args.top_k; ++k) total += __shfl_sync(kAllLanes, e, k);
  if (lane >= args.top_k) return;
  index[size_t(token) * args.top_k + lane] = expert_of(mine);
  weight[size_t(token) * args.top_k + lane] = e / total;
}

}  // namespace

Status router(const RouterArgs& args, const int32_t* num_tokens, const float* logits, int32_t* index, float* weight,
              Stream stream) {
  if (args.experts > kMaxPerLane * kWarp || args.top_k > kWarp || args.top_k > args.experts)
    return cudaErrorInvalidValue;
  return launch(router_kernel,
                {.grid = dim3(divide_up(args.tokens, kTokensPerBlock)),
                 .block = dim3(kTokensPerBlock * kWarp),
                 .stream = stream},
                args, num_tokens, logits, index, weight);
}

}  // namespace oss::cuda
