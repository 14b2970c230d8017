// One draw from one row of logits, as lib/sampling.ts defines it: the same token for the same logits and arguments.
#pragma once
#include "kernels/common/args.h"

namespace oss::cpu {

struct SampledToken {
  int token;
  float logprob;  // log softmax of the raw logits at `token`, over all finite logits, before temperature and masks
};

// logits [vocab], vocab >= 1. Allocates 64 KB only when top-k or top-p is on; safe to call from several threads.
SampledToken sample_row(const SamplingArgs& args, const float* logits, int vocab);

}  // namespace oss::cpu
