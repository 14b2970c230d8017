// Router:  index[t,:] = the top_k experts by logit, best first, on equal logits the lower expert first
//          weight[t,k] = exp(logits[t, index[t,k]] - largest) / Σ over the chosen, summed in the order of k
//   logits  [tokens, experts]  f32      index, weight  [tokens, top_k]      experts <= 256, top_k <= 32
//
// Traffic: negligible. The cost is a dispatch, one trip to memory and two reductions for each of the top_k.
#include "kernels/metal/lang.h"
#include "kernels/metal/router.h"

using namespace oss;

// Orders like the logits. Never 0, which marks a chosen expert; a NaN has a place, too.
static inline uint rank_of(float logit) {
  const uint bits = as_type<uint>(logit + 0.0f);  // -0 is 0
  return (bits & 0x80000000u) != 0 ? max(~bits, 1u) : bits | 0x80000000u;
}
static inline float logit_of(uint rank) {
  return as_type<float>((rank & 0x80000000u) != 0 ? rank & 0x7FFFFFFFu : ~rank);
}

// One simdgroup per token. Lane l holds the experts l, l + 32, ... Lane k gets the k-th best.
kernel void router(constant RouterLaunch& args [[buffer(0)]], DevicePtr<const float> logits [[buffer(1)]],
                   DevicePtr<int> chosen [[buffer(2)]], DevicePtr<float> weight [[buffer(3)]], OSS_POSITION) {
  const int token = int(group.x) * kRouterTokens + int(simdgroup);
  if (token >= args.tokens) return;
  uint ranks[kRouterPerLane];
  for (int i = 0; i < kRouterPerLane; ++i) {
    const int expert = i * 32 + int(lane);
    ranks[i] = expert < args.experts ? rank_of(logits[ulong(token) * ulong(args.experts) + expert]) : 0;
  }
  uint my_rank = 0, my_expert = 0;
  for (int k = 0; k < args.top_k; ++k) {
    uint best = 0;
    for (int i = 0; i < kRouterPerLane; ++i) best = max(best, ranks[i]);
    best = simd_max(best);
    uint expert = ~0u;
    for (int i = kRouterPerLane - 1; i >= 0; --i) expert = ranks[i] == best ? uint(i) * 32 + lane : expert;
    expert = simd_min(expert);
    for (int i = 0; i < kRouterPerLane; ++i) ranks[i] = expert == uint(i) * 32 + lane ? 0 : ranks[i];
    if (int(lane) == k) {
      my_rank = best;
      my_expert = expert;
    }
  }
  const float logit = logit_of(my_rank);
  const float share = precise::exp(logit - simd_broadcast(logit, 0));
  float total = 0;
  for (int k = 0; k < args.top_k; ++k) total += simd_shuffle(share, ushort(k));
  if (int(lane) >= args.top_k) return;
  const ulong at = ulong(token) * ulong(args.top_k) + lane;
  chosen[at] = int(my_expert);
  weight[at] = share / total;
}
OSS_KERNEL(router)
