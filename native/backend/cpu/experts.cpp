// The experts: pairs of token and expert are grouped by expert, so that each expert's weights are read once.
#include <algorithm>

#include "kernels/common/mxfp4.h"
#include "native/backend/cpu/cpu_backend.h"
#include "native/backend/cpu/ranges.h"

namespace oss {

void CpuBackend::router(const RouterArgs& args, const float* logits, int32_t* index, float* weight) {
  pool_.parallel_for(args.tokens, 64, [&](int64_t begin, int64_t end, int) {
    const RouterArgs part = {int(end - begin), args.experts, args.top_k};
    kernels_.router(part, logits + begin * args.experts, index + begin * args.top_k, weight + begin * args.top_k);
  });
}

void CpuBackend::group_by_expert(const ExpertsArgs& args, const int32_t* index) {
  const int num_pairs = args.tokens * args.top_k;
  pair_begin_.assign(size_t(args.experts) + 1, 0);
  for (int p = 0; p < num_pairs; ++p) ++pair_begin_[size_t(index[p]) + 1];
  chosen_.clear();
  for (int e = 0; e < args.experts; ++e) {
    if (pair_begin_[e + 1] > 0) chosen_.push_back(e);
    pair_begin_[e + 1] += pair_begin_[e];
  }
  pairs_.resize(num_pairs);
  // Placing moves each begin to the next one's begin; afterwards all entries move up by one.
  for (int p = 0; p < num_pairs; ++p) pairs_[pair_begin_[index[p]]++] = p;
  for (int e = args.experts; e > 0; --e) pair_begin_[e] = pair_begin_[e - 1];
  pair_begin_[0] = 0;
}

static cpu::ExpertWeights weights_of(const ExpertMatrix& matrix, int expert) {
  const size_t rows = size_t(expert) * matrix.rows, num_blocks = rows * (matrix.cols / kMxBlock);
  return {matrix.blocks + num_blocks * kMxBlockBytes, matrix.scales + num_blocks, matrix.bias + rows};
}

void CpuBackend::experts(const ExpertsArgs& args, Operand operand, const int32_t* index, const float* weight,
                         const ExpertMatrix& gate_up, const ExpertMatrix& down, AdapterRows adapters, float* x) {
  group_by_expert(args, index);
  gate_up_terms(args, adapters, operand.as<float>());
  if (gate_up.bf16 != nullptr) {
    experts_bf16(args, operand.as<float>(), weight, gate_up, down, adapters, x);
  } else if (bf16_ != nullptr) {
    experts_fast(args, operand.as<float>(), weight, gate_up, down, adapters, x);
  } else {
    experts_exact(args, operand.as<float>(), weight, gate_up, down, adapters, x);
  }
}

void CpuBackend::experts_exact(const ExpertsArgs& args, const float* normed, const float* weight,
                               const ExpertMatrix& gate_up, const ExpertMatrix& down, AdapterRows adapters, float* x) {
  float* split = split_.reserve<float>(size_t(args.tokens) * args.hidden, "the experts' inputs");
  float* act = act_.reserve<float>(pairs_.size() * args.intermediate, "the experts' activations");
  float* out = out_.reserve<float>(pairs_.size() * args.hidden, "the experts' outputs");

  pool_.parallel_for(args.tokens, 8, [&](int64_t begin, int64_t end, int) {
    kernels_.experts_split(size_t(end - begin) * args.hidden, normed + begin * args.hidden,
                           split + begin * args.hidden);
  });

  // A range is one block of 32 activations: 64 rows of gate and up, 98 KB in the 20b.
  const int act_blocks = args.intermediate / kMxBlock;
  pool_.parallel_for(int64_t(chosen_.size()) * act_blocks, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const int expert = chosen_[i / act_blocks], block = int(i % act_blocks) * kMxBlock;
      const auto pairs = pairs_of(expert);
      kernels_.experts_gate_up(args, weights_of(gate_up, expert), block, block + kMxBlock, pairs.data(),
                               int(pairs.size()), gate_up_terms_.of(pair_begin_[expert]), split, act);
    }
  });
  down_terms(args, adapters, act);

  // A range of output rows passes through all experts, so that one thread can sum them up.
  const int64_t row_bytes = int64_t(chosen_.size()) * (args.intermediate / kMxBlock) * (kMxBlockBytes + 1);
  const int64_t grain = rows_per_range(args.hidden, row_bytes, 16, pool_.size());
  pool_.parallel_for(args.hidden, grain, [&](int64_t begin, int64_t end, int) {
    for (const int expert : chosen_) {
      const auto pairs = pairs_of(expert);
      kernels_.experts_down(args, weights_of(down, expert), int(begin), int(end), pairs.data(), int(pairs.size()), act,
                            out);
    }
    if (down_terms_.of_pair.empty()) kernels_.experts_sum(args, int(begin), int(end), weight, out, x);
  });
  if (down_terms_.of_pair.empty()) return;
  add_down_terms(args, out);
  sum_experts(args, weight, out, x);
}

void CpuBackend::divide_into_panels() {
  expert_panels_.clear();
  panel_begin_.clear();
  for (const int expert : chosen_) {
    panel_begin_.push_back(int(expert_panels_.size()));
    for (int pair = pair_begin_[expert]; pair < pair_begin_[expert + 1]; pair += bf16_->panel_rows) {
      expert_panels_.push_back({pair, std::min(bf16_->panel_rows, pair_begin_[expert + 1] - pair)});
    }
  }
}

void CpuBackend::experts_fast(const ExpertsArgs& args, const float* normed, const float* weight,
                              const ExpertMatrix& gate_up, const ExpertMatrix& down, AdapterRows adapters, float* x) {
  divide_into_panels();
  const size_t num_panels = expert_panels_.size();
  const size_t panel_elements = size_t(bf16_->panel_rows) * args.hidden;
  const size_t act_elements = size_t(bf16_->panel_rows) * args.intermediate;
  const size_t work_elements = bf16_->packed_work_elements(std::max(args.hidden, args.intermediate));
  uint16_t* act = act_.reserve<uint16_t>(num_panels * act_elements, "the experts' activations");
  uint16_t* work = bf16_work_.reserve<uint16_t>(work_elements * pool_.size(), "the experts' weights in tiles");
  float* out = out_.reserve<float>(pairs_.size() * args.hidden, "the experts' outputs");

  const uint16_t* panels = pack_pairs(args.hidden, bf16_->pack_packed, [&](int i) {
    return normed + size_t(pairs_[size_t(i)] / args.top_k) * args.hidden;
  });

  // Calls body(chosen, first, last, thread) on blocks of 32 rows of each chosen expert. Ranges are long, because
  // kernels prefetch the next rows, which is useless at the end of a range.
  const auto for_each_expert = [&](int rows, const auto& body) {
    constexpr int kRangesPerThread = 24;
    const int blocks = rows / kMxBlock;
    const int64_t count = int64_t(chosen_.size()) * blocks;
    pool_.parallel_for(count, std::max<int64_t>(1, count / (kRangesPerThread * pool_.size())),
                       [&](int64_t begin, int64_t end, int thread) {
                         while (begin < end) {
                           const int64_t chosen = begin / blocks, first = chosen * blocks;
                           const int64_t last = std::min(end, first + blocks);
                           body(size_t(chosen), int(begin - first) * kMxBlock, int(last - first) * kMxBlock, thread);
                           begin = last;
                         }
                       });
  };
  for_each_expert(args.intermediate, [&](size_t chosen, int begin, int end, int thread) {
    const int expert = chosen_[chosen], panel = panel_begin_[chosen];
    bf16_->experts_gate_up(args, weights_of(gate_up, expert), begin, end, int(pairs_of(expert).size()),
                           gate_up_terms_.of(pair_begin_[expert]), panels + panel * panel_elements,
                           act + panel * act_elements, work + thread * work_elements);
  });
  down_terms(args, adapters, act);
  for_each_expert(args.hidden, [&](size_t chosen, int begin, int end, int thread) {
    const int expert = chosen_[chosen], panel = panel_begin_[chosen];
    const auto pairs = pairs_of(expert);
    bf16_->experts_down(args, weights_of(down, expert), begin, end, pairs.data(), int(pairs.size()),
                        act + panel * act_elements, out, work + thread * work_elements);
  });
  add_down_terms(args, out);
  sum_experts(args, weight, out, x);
}

void CpuBackend::sum_experts(const ExpertsArgs& args, const float* weight, const float* out, float* x) {
  pool_.parallel_for(args.hidden, 480, [&](int64_t begin, int64_t end, int) {
    kernels_.experts_sum(args, int(begin), int(end), weight, out, x);
  });
}

}  // namespace oss
