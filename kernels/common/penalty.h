// Penalties on the logits of tokens that a sequence contains, as lib/generation/sampling.ts defines them. Each step is
// rounded to float32. No step may be contracted with the next into a fused multiply-add.
#pragma once
#include "kernels/common/lang.h"

namespace oss {

// nvcc contracts unless a product is explicitly rounded; other compilers get -ffp-contract=off.
OSS_FN float rounded_product(float a, float b) {
#ifdef __CUDA_ARCH__
  return __fmul_rn(a, b);
#else
  return a * b;
#endif
}

// For a token in the prompt or the completion; it appears `in_completion` times in the completion.
OSS_FN float penalize(float logit, float repetition, float presence, float frequency, int in_completion) {
  logit = logit > 0 ? logit / repetition : rounded_product(logit, repetition);
  if (in_completion == 0) return logit;
  logit = logit - presence;
  const float by_count = rounded_product(frequency, float(in_completion));
  return logit - by_count;
}

}  // namespace oss
