// Router:  index[t,:] = the top_k experts by logit, best first, on equal logits the lower expert first
//          weight[t,k] = exp(logits[t, index[t,k]] - largest) / Σ over the chosen, summed in the order of k
//   logits  [tokens, experts]  f32      index, weight  [tokens, top_k]      experts <= 256, top_k <= 32
//
// Traffic: negligible. The cost is a dispatch, one trip to memory and two reductions for each of the top_k.
#include "kernels/metal/choice.h"
#include "kernels/metal/lang.h"
#include "kernels/metal/router.h"

using namespace oss;

// One simdgroup per token.
kernel void router(constant RouterLaunch& args [[buffer(0)]], DevicePtr<const float> logits [[buffer(1)]],
                   DevicePtr<int> chosen [[buffer(2)]], DevicePtr<float> weight [[buffer(3)]], OSS_POSITION) {
  const int token = int(group.x) * kRouterTokens + int(simdgroup);
  if (token >= args.tokens) return;
  ExpertRanks ranks;
  for (int i = 0; i < kRouterPerLane; ++i) {
    const int expert = i * 32 + int(lane);
    ranks.of[i] = expert < args.experts ? rank_of(logits[ulong(token) * ulong(args.experts) + expert]) : 0;
  }
  const ExpertChoice choice = choose_experts(ranks, args.top_k, lane);
  if (int(lane) >= args.top_k) return;
  const ulong at = ulong(token) * ulong(args.top_k) + lane;
  chosen[at] = choice.expert;
  weight[at] = choice.weight;
}
OSS_KERNEL(router)
