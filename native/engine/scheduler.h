// Which sequences run in the next step, and how many tokens of each. Pure: counts in, decisions out.
//
// Every sequence that is past its prompt gets its next token; what is left of max_tokens goes to prompts, oldest first.
#pragma once
#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

namespace oss {

struct Candidate {
  int64_t uncomputed;   // tokens not yet in the cache; 1 = decode, more = prefill
  int64_t wants_rows;   // rows of logits, over its last tokens; those already computed do not count
};

struct Scheduled {
  int index;            // into the candidates
  int64_t tokens;       // its next tokens
  int64_t rows;         // logits of the last `rows` of them
};

// candidates: running sequences, oldest first. Each step makes progress as long as max_tokens and max_rows are positive.
inline std::vector<Scheduled> schedule(std::span<const Candidate> candidates, int64_t max_tokens, int64_t max_rows) {
  std::vector<Scheduled> step;
  const auto take = [&](int index) {
    const Candidate& c = candidates[index];
    int64_t tokens = std::min(c.uncomputed, max_tokens);
    // Rows wanted lie at the end: a chunk that stops before the end of the prompt has those that it reaches.
    const int64_t without_rows = std::max<int64_t>(c.uncomputed - c.wants_rows, 0);
    tokens = std::min(tokens, without_rows + max_rows);
    if (tokens <= 0) return;
    const int64_t rows = std::max<int64_t>(tokens - without_rows, 0);
    step.push_back({index, tokens, rows});
    max_tokens -= tokens;
    max_rows -= rows;
  };
  for (int i = 0; i < int(candidates.size()); ++i) {
    if (candidates[i].uncomputed == 1) take(i);
  }
  for (int i = 0; i < int(candidates.size()); ++i) {
    if (candidates[i].uncomputed > 1) take(i);
  }
  return step;
}

}  // namespace oss
