// What the tokens that a sequence has seen do to their logits; lib/generation/sampling.ts defines it. Each step is rounded to
// float32, and none may be contracted with the next into a fused multiply-add.
#pragma once
#include "kernels/common/lang.h"

namespace oss {

// nvcc contracts unless a product says that it is rounded; other compilers are told not to (-ffp-contract=off).
OSS_FN float rounded_product(float a, float b) {
#ifdef __CUDA_ARCH__
  return __fmul_rn(a, b);
#else
  return a * b;
#endif
}

// Of a token that prompt or completion holds, the latter `in_completion` times.
OSS_FN float penalize(float logit, float repetition, float presence, float frequency, int in_completion) {
  logit = logit > 0 ? logit / repetition : rounded_product(logit, repetition);
  if (in_completion == 0) return logit;
  logit = logit - presence;
  const float by_count = rounded_product(frequency, float(in_completion));
  return logit - by_count;
}

}  // namespace oss
