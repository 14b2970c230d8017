// Sampling from one row of logits, as lib/generation/sampling.ts defines it: the draw, the top logits and log
// probabilities. The logits already include penalties and bias: native/backend/cpu/sample_row.h adds them.
#pragma once
#include <algorithm>
#include <cstdint>
#include <functional>
#include <vector>

#include "kernels/common/args.h"
#include "kernels/cpu/kernels.h"

namespace oss::cpu {

// Calls body(begin, end) on ranges that cover [0, count) once, perhaps on several threads at a time.
using ParallelFor = std::function<void(int count, const std::function<void(int begin, int end)>& body)>;

// The means to process a row. The kernels of any instruction set, on any number of threads, give the same bits.
struct SampleMachine {
  const Kernels& kernels;
  ParallelFor parallel_for = [](int count, const auto& body) { body(0, count); };
};

// The arguments must outlive this object.
class LogitRow {
 public:
  // logits [vocab], vocab >= 1.
  LogitRow(const SampleMachine& machine, const SamplingArgs& args, const float* logits, int vocab);

  // The drawn token; the same for the same logits and arguments.
  int draw();

  // The ids of the n highest logits, best first, among equals the lower id first; fewer when there are fewer. Masked
  // reserved ids are left out.
  std::vector<int32_t> top(int n) const;

  // Log softmax over all finite logits of the row, reserved ids included; -inf where the logit is not finite. The sum
  // has a relative error of 2^-34, so the error is 6e-11 plus the rounding to float.
  float logprob(int token);

 private:
  // Orders tokens by logit descending, then by id ascending: a smaller key is a better token.
  using Key = uint64_t;

  static Key key_of(float logit, uint32_t id);
  static float logit_of(Key key);
  static uint32_t id_of(Key key) { return uint32_t(key); }
  // The last of all tokens with this logit.
  static Key last_key_of(float logit) { return key_of(logit, ~0u); }
  static const Key kNoLimit;

  float logit(int id) const;
  double weight(Key key) const;
  int block_begin(int block) const { return block * kSampleBlock; }
  // The number of logits in blocks [begin, end).
  int num_logits(int begin, int end) const { return std::min(block_begin(end), vocab_) - block_begin(begin); }
  int num_blocks() const { return int(block_highest_.size()); }

  template <typename Visit>
  void for_each_candidate_of(int block, const Visit& visit) const;

  int best() const;
  bool gather(Key limit, size_t most, std::vector<Key>& keys) const;
  std::vector<Key> best_keys(int n) const;

  Key top_k_limit() const;
  Key top_p_limit(Key limit);
  Key exact_top_p_limit(Key limit, const std::vector<Key>& keys) const;
  Key min_p_limit() const;
  int draw_within(Key limit);
  int exact_draw(const std::vector<Key>& keys) const;
  double uniform() const;

  const std::vector<double>& softmax_sums();
  void weigh(int begin_block, int end_block, double top, double temperature, double lowest, double* sums) const;
  std::vector<double> block_weights(Key limit);
  double margin(double total) const;

  const SampleMachine& machine_;
  const SamplingArgs& args_;
  const float* logits_;
  int vocab_;

  float highest_;                     // of all finite logits; -inf: there is none
  std::vector<float> block_highest_;  // of the candidates of each block of kSampleBlock ids
  float best_logit_;                  // of the candidates
  int open_blocks_;                   // the first blocks, which contain no masked id
  std::vector<double> softmax_sums_;  // Σ exp(logit - highest_) of each block, reserved ids included; empty: not yet
  double log_total_ = -1;             // log of their sum, which is at least 1; -1: not yet
};

}  // namespace oss::cpu
