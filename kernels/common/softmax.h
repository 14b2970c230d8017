// Softmax in parts. A part covers some of the scores: max = their largest, sum = Σ exp(s - max). Two parts merge as
//   max = max(a, b)      sum = a.sum · exp(a.max - max) + b.sum · exp(b.max - max)
// Sums weighted with the parts' probabilities merge by the same two factors.
//
// An attention sink is one more score without a value: the part { max = sink, sum = 1 }.
#pragma once
#include "kernels/common/lang.h"

namespace oss {

struct SoftmaxPart {
  float max, sum;
};

struct SoftmaxMerged {
  SoftmaxPart part;
  float scale_a, scale_b;  // factors for the sums over a and over b
};

// At least one part must have a score. `exp` is the device's own function: exp(-inf) must be 0.
template <typename Exp>
OSS_FN SoftmaxMerged softmax_merge(SoftmaxPart a, SoftmaxPart b, Exp exp) {
  const float max = a.max > b.max ? a.max : b.max;
  const float scale_a = exp(a.max - max), scale_b = exp(b.max - max);
  return {{max, a.sum * scale_a + b.sum * scale_b}, scale_a, scale_b};
}

}  // namespace oss
