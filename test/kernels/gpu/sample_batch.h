// The draws of the GPUs' sample tests. A GPU draws the same tokens as the CPU, which test/lib/generation/sampling.test.ts
// compares with lib/generation/sampling.ts. It sums weights in another way than the CPU. So the two can differ when a
// draw or top-p's mass is very close to a border between two tokens. The seeds here avoid that.
#pragma once
#include <cstdint>
#include <initializer_list>
#include <random>
#include <vector>

#include "kernels/common/args.h"
#include "native/backend/step.h"

namespace oss::test::sampling {

constexpr int kFullVocab = 201088;
constexpr SamplingArgs kNeutral = {
    .temperature = 1,
    .top_k = 0,
    .top_p = 1,
    .min_p = 0,
    .seed_lo = 7,
    .seed_hi = 0,
    .position = 0,
    .choice = 0,
    .repetition_penalty = 1,
    .presence_penalty = 0,
    .frequency_penalty = 0,
    .mask_reserved = 0,
};

// One draw: its row of the batch's logits, and its parameters.
struct Draw {
  int row = 0;
  SamplingArgs args = kNeutral;
  std::vector<SamplingContext::Seen> seen;
  std::vector<SamplingContext::Bias> bias;
  int top = 0;
  std::vector<uint32_t> allowed{};
};
struct Batch {
  int vocab;
  std::vector<float> logits;  // [rows, vocab]
  std::vector<Draw> draws;
  float* row(int row) { return logits.data() + size_t(row) * vocab; }
};

class Random {
 public:
  explicit Random(uint32_t seed) : engine_(seed) {}
  int below(int n) { return int(engine_() % unsigned(n)); }
  unsigned bits() { return unsigned(engine_()); }
  float normal(float deviation) { return std::normal_distribution<float>(0, deviation)(engine_); }
  template <typename T>
  T of(std::initializer_list<T> choices) {
    return choices.begin()[below(int(choices.size()))];
  }

 private:
  std::mt19937 engine_;
};

// `draws` draws from rows of all shapes. Some rows are drawn from several times, like the choices of one prompt.
Batch random_batch(uint32_t seed, int vocab, int draws);

// Every filter, on three rows of the full vocabulary. most_top: the most log probabilities of a draw.
Batch full_vocab_batch(int most_top);

// A draw for each id, which has the highest logit. It is drawn unless it is reserved.
Batch reserved_batch(const std::vector<int>& ids);

// The logits fall from id to id, and the draw is just below 1. So the token is the last one that is kept. It shows
// missing mass of the sum, here 1e-8, which other draws would not show.
Batch last_kept_batch();

// Five tokens share the highest logit, and all others the next one. See check_ties().
Batch ties_batch();

}  // namespace oss::test::sampling
