// Router:  index[t,:] = the top_k experts by logit, best first, on equal logits the lower expert first
//          weight[t,k] = exp(logits[t, index[t,k]] - largest) / Σ over the chosen, summed in the order of k
//   logits  [tokens, experts]  f32      index, weight  [tokens, top_k]      experts <= 256, top_k <= 32
//
// Traffic: negligible. The cost is a launch, one round trip to L2 and five shuffles for each of the top_k.
#include "kernels/cuda/choice.cuh"
#include "kernels/cuda/launch.cuh"

namespace oss::cuda {
namespace {

constexpr int kTokensPerBlock = 4;

// One warp per token.
__global__ void router_kernel(RouterArgs args, const int32_t* num_tokens, const float* logits /*[tokens, experts]*/,
                              int32_t* index /*[tokens, top_k]*/, float* weight /*[tokens, top_k]*/) {
  const int token = blockIdx.x * kTokensPerBlock + threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  if (token >= *num_tokens) return;
  const Choice choice = choose_experts(args.experts, args.top_k, logits + size_t(token) * args.experts);
  if (lane >= args.top_k) return;
  index[size_t(token) * args.top_k + lane] = choice.expert;
  weight[size_t(token) * args.top_k + lane] = choice.weight;
}

}  // namespace

Status router(const RouterArgs& args, const int32_t* num_tokens, const float* logits, int32_t* index, float* weight,
              Stream stream) {
  if (args.experts > kMaxPerLane * kWarp || args.top_k > kWarp || args.top_k > args.experts)
    return cudaErrorInvalidValue;
  return launch(
      router_kernel,
      {.grid = dim3(divide_up(args.tokens, kTokensPerBlock)), .block = dim3(kTokensPerBlock * kWarp), .stream = stream},
      args, num_tokens, logits, index, weight);
}

}  // namespace oss::cuda
