// What a step gives to a backend: its tokens as flat arrays, and how the rows of its logits are drawn from.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/common/args.h"

namespace oss {

// What the tokens of one step are, as flat arrays. Built by the engine, at the same addresses in every step.
struct Step {
  int num_tokens = 0;
  int num_sequences = 0;
  int num_rows = 0;  // tokens whose logits are wanted
  // [num_tokens]; -1 - r, where a backend runs ahead: what row r of the last draws gives
  std::span<const int32_t> tokens;
  std::span<const int32_t> positions;  // [num_tokens] position of each token in its sequence
  std::span<const int32_t> sequence;   // [num_tokens] row of the block tables
  // By KvGroup: [num_sequences, max_pages] page numbers, -1 where a window has left its page.
  std::span<const int32_t> block_tables[kKvGroups];
  int max_pages = 0;
  std::span<const float> rope;  // [num_tokens, 2, head_dim/2] cos and sin of each position, concentration included
  std::span<const int32_t> logit_tokens;  // [num_rows] index into `tokens`
};

// The largest step that an engine will make, and the shapes in it: what a backend plans its own memory from.
struct StepLimits {
  int tokens = 0, sequences = 0, rows = 0, max_pages = 0;
  int hidden = 0, intermediate = 0, heads = 0, kv_heads = 0, head_dim = 0, experts = 0, top_k = 0, vocab = 0;
  int window = 0;  // of layers that do not see everything
};

// What the rows of an operation are: a device that repeats recorded work looks up how many there are.
enum class RowsOf { kTokens, kLogits };

struct TopLogprob {
  int32_t token;
  float logprob;
};

// What a row's draw depends on beside its logits and SamplingArgs. lib/generation/sampling.ts defines how.
struct SamplingContext {
  struct Seen {
    int32_t token;
    int32_t in_completion;  // how often; a token of the prompt alone has 0
  };
  struct Bias {
    int32_t token;
    float bias;  // added to the logit; -infinity bans the token
  };
  std::span<const Seen> seen;  // every distinct token of prompt and completion; may stay empty when no penalty is on
  std::span<const Bias> bias;
  int top_logprobs = 0;  // how many of the most probable tokens to report
  // One bit per token, [(vocab + 31) / 32]: only those that are set can be drawn, whatever penalties and bias say; at least
  // one is. When their logits are no numbers, it is the lowest id. Empty: every token.
  std::span<const uint32_t> allowed{};
};

struct Sampled {
  int32_t token = -1;
  float logprob = 0;  // log softmax of the raw logits at `token`: before penalties, bias, temperature and filters
  std::vector<TopLogprob> top;  // most probable first; of the raw logits too
};

}  // namespace oss
