// The largest step of a model: how many tokens, sequences, rows of logits and pages, and the shapes of its config.
#pragma once
#include "native/backend/step.h"
#include "native/model/config.h"

namespace oss {

struct StepCounts {
  int tokens, sequences, rows, max_pages;
};

inline StepLimits step_limits(const Config& config, const StepCounts& most) {
  return {
      .tokens = most.tokens,
      .sequences = most.sequences,
      .rows = most.rows,
      .max_pages = most.max_pages,
      .hidden = config.hidden,
      .intermediate = config.intermediate,
      .heads = config.num_heads,
      .kv_heads = config.num_kv_heads,
      .head_dim = config.head_dim,
      .experts = config.num_experts,
      .top_k = config.experts_per_token,
      .vocab = config.vocab,
      .window = config.sliding_window,
  };
}

}  // namespace oss
