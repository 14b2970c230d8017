#include "kernels/metal/norm_router.h"

#include "kernels/metal/dense.h"
#include "kernels/metal/router.h"
#include "native/backend/metal/operations.h"

namespace oss::metal {

// With more tokens, the matrices of linear read the router's weights less often.
bool fuses_router(int tokens, int hidden, int experts) {
  return tokens <= kFewRows && hidden <= kNormRouterColumns && hidden % 4 == 0 && experts <= kRouterMaxExperts;
}

void norm_router(Encoder& encoder, const RouterArgs& args, int hidden, float eps, const float* x, const float* norm,
                 const uint16_t* w, const float* bias, uint16_t* normed, int32_t* index, float* weight) {
  const NormRouterLaunch launch = {.hidden = hidden, .experts = args.experts, .top_k = args.top_k, .eps = eps};
  const size_t values = size_t(args.tokens) * size_t(hidden), chosen = size_t(args.tokens) * size_t(args.top_k);
  encoder.dispatch(
      "norm_router", {uint32_t(args.tokens)}, kNormRouterThreads,
      {bytes_of(launch), reads(x, values), reads(norm, size_t(hidden)), reads(w, size_t(args.experts) * size_t(hidden)),
       reads(bias, size_t(args.experts)), writes(normed, values), writes(index, chosen), writes(weight, chosen)});
}

}  // namespace oss::metal
