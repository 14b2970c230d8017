// Softmax in parts. A part has seen some of the scores: max = their largest, sum = Σ exp(s - max). Two parts merge as
//   max = max(a, b)      sum = a.sum · exp(a.max - max) + b.sum · exp(b.max - max)
// and whatever was weighted with the parts' probabilities merges by the same two factors.
//
// An attention sink is one more score without a value, that is the part { max = sink, sum = 1 }.
#pragma once
#include "kernels/common/lang.h"

namespace oss {

struct SoftmaxPart {
  float max, sum;
};

struct SoftmaxMerged {
  SoftmaxPart part;
  float scale_a, scale_b;  // what the sums over a and over b are multiplied by
};

// At least one part has a score. `exp` is the device's own: exp(-inf) must be 0.
template <typename Exp>
OSS_FN SoftmaxMerged softmax_merge(SoftmaxPart a, SoftmaxPart b, Exp exp) {
  const float max = a.max > b.max ? a.max : b.max;
  const float scale_a = exp(a.max - max), scale_b = exp(b.max - max);
  return {{max, a.sum * scale_a + b.sum * scale_b}, scale_a, scale_b};
}

}  // namespace oss
