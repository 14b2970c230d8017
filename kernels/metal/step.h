// The arrays of a step that host and kernels share: tiles of attention, parameters and results of draws.
#pragma once
#include "kernels/common/args.h"

namespace oss {

OSS_CONSTANT int kMaxTopLogprobs = 20;

// Consecutive tokens of one sequence that share their pass over the keys.
struct AttentionTile {
  int32_t first, tokens;
};
OSS_CONSTANT int kAttentionTile = 16;  // the most tokens of a tile

struct SampleSeen {
  int32_t token, in_completion;
};
struct SampleBias {
  int32_t token;
  float bias;
};
struct SampleRow {
  SamplingArgs args;
  int32_t row;                   // row of the logits
  int32_t seen_begin, seen_end;  // range in the list of SampleSeen: distinct tokens
  int32_t bias_begin, bias_end;  // range in the list of SampleBias: applied in order; tokens may repeat
  int32_t top_logprobs;          // <= kMaxTopLogprobs
  int32_t allowed_begin;         // in `allowed`: the [(vocab + 31) / 32] words of the row; -1: every token may be drawn
};
struct SampleResult {
  int32_t token;
  float logprob;
  int32_t num_top;
  int32_t top_token[kMaxTopLogprobs];
  float top_logprob[kMaxTopLogprobs];
};

}  // namespace oss
