// Experts in bf16: the kernels of `linear`, for the pairs of one expert at a time. All instruction sets have them, and
// their sums do not depend on the batch.
//
//   act[i] = swiglu(gate, up) of W1 x[pair i] + b1      out[pair i] = W2 act[i] + b2      x[t] += Σ_k weight[t,k] · out
//
// Decode reads 2 bytes per weight once: 50 MB per expert of the 20b, 3.8 times those of MXFP4. Threads share the ranges
// of all chosen experts, so one token occupies them all.
#include <algorithm>
#include <cstring>

#include "kernels/common/mxfp4.h"
#include "native/backend/cpu/cpu_backend.h"

namespace oss {

template <typename Body>
void CpuBackend::bf16_products(const ExpertMatrix& matrix, const PairRows& x, const Body& body) {
  int most_pairs = 0;
  for (const int expert : chosen_) most_pairs = std::max(most_pairs, int(pairs_of(expert).size()));
  const int panel_rows = bf16_ != nullptr ? bf16_->panel_rows : 1;
  // As in products.cpp: the rows of a range share the panels in L2.
  const int many = bf16_ != nullptr && panels_for(*bf16_, most_pairs) > 4 ? 4 * bf16_->row_unit : 0;
  const int64_t unit = std::max(kMxBlock, many), row_bytes = int64_t(matrix.cols) * int64_t(sizeof(uint16_t));
  const int rows = int(std::min<int64_t>(
      kMostExpertRows, rows_per_range(int64_t(chosen_.size()) * matrix.rows, row_bytes, unit, pool_.size(),
                                      most_pairs <= panel_rows ? kRangeBytesOnce : kRangeBytesMost)));
  const int64_t ranges = (matrix.rows + rows - 1) / rows;
  const size_t work = size_t(most_pairs) * size_t(rows),
               panel_elements = size_t(panel_rows) * cpu::panel_cols(matrix.cols);
  float* products = products_.reserve<float>(work * pool_.size(), "the experts' products");
  pool_.parallel_for(int64_t(chosen_.size()) * ranges, 1, [&](int64_t begin, int64_t end, int thread) {
    for (int64_t i = begin; i < end; ++i) {
      const size_t chosen = size_t(i / ranges);
      const int expert = chosen_[chosen], first = int(i % ranges) * rows, count = std::min(rows, matrix.rows - first);
      const auto pairs = pairs_of(expert);
      const LinearArgs args = {.rows = int(pairs.size()), .in = matrix.cols, .out = count, .accumulate = 0};
      const size_t at = size_t(expert) * matrix.rows + first;
      const uint16_t* weights = matrix.bf16 + at * matrix.cols;
      float* y = products + size_t(thread) * work;
      if (bf16_ != nullptr) {
        bf16_->linear(args, 0, count, x.panels + size_t(panel_begin_[chosen]) * panel_elements, nullptr, weights,
                      matrix.bias + at, y);
      } else {
        kernels_.linear(args, 0, count, x.rows + size_t(pair_begin_[expert]) * matrix.cols, weights, matrix.bias + at,
                        y);
      }
      body(expert, pairs, first, count, y);
    }
  });
}

void CpuBackend::experts_bf16(const ExpertsArgs& args, const float* normed, const float* weight,
                              const ExpertMatrix& gate_up, const ExpertMatrix& down, AdapterRows adapters, float* x) {
  const size_t hidden = size_t(args.hidden), intermediate = size_t(args.intermediate);
  float* act = act_.reserve<float>(pairs_.size() * intermediate, "the experts' activations");
  float* out = out_.reserve<float>(pairs_.size() * hidden, "the experts' outputs");

  const auto input_of = [&](int i) { return normed + size_t(pairs_[size_t(i)] / args.top_k) * hidden; };
  PairRows inputs, activations = {.rows = act};
  if (bf16_ != nullptr) {
    divide_into_panels();
    inputs.panels = pack_pairs(args.hidden, bf16_->pack, input_of);
  } else {
    float* rows = split_.reserve<float>(pairs_.size() * hidden, "the experts' inputs");
    pool_.parallel_for(int64_t(pairs_.size()), 8, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) std::copy_n(input_of(int(i)), hidden, rows + size_t(i) * hidden);
    });
    inputs.rows = rows;
  }

  bf16_products(gate_up, inputs, [&](int expert, auto pairs, int first, int count, float* y) {
    for (size_t p = 0; p < pairs.size(); ++p, y += count) {
      const size_t i = size_t(pair_begin_[expert]) + p;
      const float* term = gate_up_terms_.of_pair.empty() ? nullptr : gate_up_terms_.of_pair[i];
      float gate[kMostExpertRows / 2], up[kMostExpertRows / 2];
      for (int r = 0; r < count; r += 2) {
        gate[r / 2] = term != nullptr ? y[r] + term[first + r] : y[r];
        up[r / 2] = term != nullptr ? y[r + 1] + term[first + r + 1] : y[r + 1];
      }
      kernels_.swiglu(count / 2, args.alpha, args.limit, gate, up, act + i * intermediate + first / 2);
    }
  });
  down_terms_of_rows(args, adapters, act);

  if (bf16_ != nullptr) {
    activations.panels =
        pack_pairs(args.intermediate, bf16_->pack, [&](int i) { return act + size_t(i) * intermediate; });
  }
  bf16_products(down, activations, [&](int, auto pairs, int first, int count, const float* y) {
    for (const int32_t pair : pairs) {
      std::memcpy(out + size_t(pair) * hidden + first, y, size_t(count) * sizeof(float));
      y += count;
    }
  });
  add_down_terms(args, out);
  sum_experts(args, weight, out, x);
}

}  // namespace oss
