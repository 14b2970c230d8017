// One row of logits, as lib/sampling.ts defines sampling: the draw, and what is told of the row beside it.
// Nothing here looks at penalties or bias: native/backend/cpu/sample_row.h puts them into the logits.
// Safe to call from several threads. logits [vocab], vocab >= 1.
#pragma once
#include <cstdint>

#include "kernels/common/args.h"

namespace oss::cpu {

// The token that is drawn, the same for the same logits and arguments. Allocates 64 KB only when top-k or top-p is on.
int draw_token(const SamplingArgs& args, const float* logits, int vocab);

// The ids of the n highest logits, best first, among equals the lower id first; returns how many there are. Reserved
// ids are left out when they are masked.
int top_tokens(const SamplingArgs& args, const float* logits, int vocab, int n, int32_t* top /*[n]*/);

// Log probability of a token: log softmax over all finite logits of the row, reserved ids included.
class LogSoftmax {
 public:
  LogSoftmax(const float* logits, int vocab);
  float operator()(int token) const;  // -inf where the logit is not finite

 private:
  const float* logits_;
  float highest_;
  double log_sum_;  // of exp(logit - highest)
};

}  // namespace oss::cpu
