// The input of a step: its tokens as flat arrays, and the sampling parameters of its rows of logits.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/common/args.h"
#include "native/backend/low_rank.h"

namespace oss {

// The tokens of one step as flat arrays. The engine builds them at the same addresses in every step.
struct Step {
  int num_tokens = 0;
  int num_sequences = 0;
  int num_rows = 0;  // tokens with logits
  // [num_tokens]; -1 - r, where a backend runs ahead: the token that row r of the last draws gives
  std::span<const int32_t> tokens;
  std::span<const int32_t> positions;  // [num_tokens] position of each token in its sequence
  std::span<const int32_t> sequence;   // [num_tokens] row of the block tables
  // By KvGroup: [num_sequences, max_pages] page numbers; -1 where the window has passed the page.
  std::span<const int32_t> block_tables[kKvGroups];
  int max_pages = 0;
  std::span<const float> rope;  // [num_tokens, 2, head_dim/2] cos and sin of each position, concentration included
  std::span<const int32_t> logit_tokens;  // [num_rows] index into `tokens`
  // [num_tokens] the adapter of each token, null: none; empty when no token has one
  std::span<const AdapterWeights* const> adapters;
};

// The largest step of an engine, and its shapes: a backend plans its internal memory from it.
struct StepLimits {
  int tokens = 0, sequences = 0, rows = 0, max_pages = 0;
  int hidden = 0, intermediate = 0, heads = 0, kv_heads = 0, head_dim = 0, experts = 0, top_k = 0, vocab = 0;
  int window = 0;  // the window of sliding layers
};

// The rows of an operation: a device that repeats recorded work looks up their number.
enum class RowsOf { kTokens, kLogits };

struct TopLogprob {
  int32_t token;
  float logprob;
};

// The inputs of a draw besides its logits and SamplingArgs. lib/generation/sampling.ts defines their use.
struct SamplingContext {
  struct Seen {
    int32_t token;
    int32_t in_completion;  // how often; 0 for a token of the prompt only
  };
  struct Bias {
    int32_t token;
    float bias;  // added to the logit; -infinity bans the token
  };
  std::span<const Seen> seen;  // every distinct token of prompt and completion; may be empty when no penalty is set
  std::span<const Bias> bias;
  int top_logprobs = 0;  // how many of the most probable tokens to report
  // One bit per token, [(vocab + 31) / 32]. Only tokens with a set bit can be drawn, whatever penalties and bias say;
  // at least one is set. If none of their logits is a number, the lowest id is drawn. Empty: every token.
  std::span<const uint32_t> allowed{};
};

struct Sampled {
  int32_t token = -1;
  float logprob = 0;  // log softmax of the raw logits at `token`: before penalties, bias, temperature and filters
  std::vector<TopLogprob> top;  // most probable first; also of the raw logits
};

}  // namespace oss
