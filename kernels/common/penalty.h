// What the tokens that a sequence has seen do to their logits; lib/sampling.ts defines it. Each step is rounded to
// float32, and none may be contracted with the next into a fused multiply-add.
#pragma once
#include "kernels/common/lang.h"

namespace oss {

// Of a token that prompt or completion holds, the latter `in_completion` times.
OSS_FN float penalize(float logit, float repetition, float presence, float frequency, int in_completion) {
  logit = logit > 0 ? logit / repetition : logit * repetition;
  if (in_completion == 0) return logit;
  logit = logit - presence;
  const float by_count = frequency * float(in_completion);
  return logit - by_count;
}

}  // namespace oss
