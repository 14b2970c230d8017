// How a simdgroup chooses a token's experts: the top_k by logit, best first, on equal logits the lower expert first.
#pragma once
#include "kernels/metal/lang.h"
#include "kernels/metal/router.h"

namespace oss {

// Orders like the logits. Never 0, which marks a chosen expert; a NaN has a place, too.
static inline uint rank_of(float logit) {
  const uint bits = as_type<uint>(logit + 0.0f);  // -0 is 0
  return (bits & 0x80000000u) != 0 ? max(~bits, 1u) : bits | 0x80000000u;
}
static inline float logit_of(uint rank) {
  return as_type<float>((rank & 0x80000000u) != 0 ? rank & 0x7FFFFFFFu : ~rank);
}

// Of a lane: the ranks of the experts lane, lane + 32, ...; 0 where there is none.
struct ExpertRanks {
  uint of[kRouterPerLane];
};

// Lane k < top_k gets the k-th best expert and its weight: exp(logit - largest) / Σ over the chosen, in the order of k.
struct ExpertChoice {
  int expert;
  float weight;
};

static inline ExpertChoice choose_experts(ExpertRanks ranks, int top_k, uint lane) {
  uint my_rank = 0, my_expert = 0;
  for (int k = 0; k < top_k; ++k) {
    uint best = 0;
    for (int i = 0; i < kRouterPerLane; ++i) best = max(best, ranks.of[i]);
    best = simd_max(best);
    uint expert = ~0u;
    for (int i = kRouterPerLane - 1; i >= 0; --i) expert = ranks.of[i] == best ? uint(i) * 32 + lane : expert;
    expert = simd_min(expert);
    for (int i = 0; i < kRouterPerLane; ++i) ranks.of[i] = expert == uint(i) * 32 + lane ? 0 : ranks.of[i];
    if (int(lane) == k) {
      my_rank = best;
      my_expert = expert;
    }
  }
  const float logit = logit_of(my_rank);
  const float share = precise::exp(logit - simd_broadcast(logit, 0));
  float total = 0;
  for (int k = 0; k < top_k; ++k) total += simd_shuffle(share, ushort(k));
  const ExpertChoice choice = {int(my_expert), share / total};
  return choice;
}

}  // namespace oss
