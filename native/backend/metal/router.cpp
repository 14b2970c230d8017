#include "kernels/metal/router.h"

#include "native/backend/metal/operations.h"

namespace oss::metal {

void router(Encoder& encoder, const RouterArgs& args, const float* logits, int32_t* index, float* weight) {
  const RouterLaunch launch = {.tokens = args.tokens, .experts = args.experts, .top_k = args.top_k};
  const size_t chosen = size_t(args.tokens) * size_t(args.top_k);
  encoder.dispatch("router", {uint32_t((args.tokens + kRouterTokens - 1) / kRouterTokens)}, 32 * kRouterTokens,
                   {bytes_of(launch), reads(logits, size_t(args.tokens) * size_t(args.experts)), writes(index, chosen),
                    writes(weight, chosen)});
}

}  // namespace oss::metal
