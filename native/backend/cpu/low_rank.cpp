// The low-rank terms of adapters: t = A x, then y += scale · B t, for the rows that have a term. Both are products of
// float32 activations in all numerics, with the kernel of `linear`: its sums do not depend on the batch. So a row has
// the same bits alone and beside others, and a row without a term is not touched.
//
// A decode reads 2·rank·(in + out) bytes of each term once. Consecutive rows with the same term share the reads.
#include <algorithm>

#include "kernels/common/mxfp4.h"
#include "native/backend/cpu/cpu_backend.h"

namespace oss {

// Rows of A or B that a thread takes at once. A rank is small, so a range of A has few rows, to occupy all threads.
constexpr int kRangeA = 4, kRangeB = 256;

void CpuBackend::multiply_runs(std::span<const LowRankRun> runs, const float* x, float* y, bool accumulate) {
  std::vector<size_t> at;  // of each run's t
  size_t elements = 0;
  int ranges_a = 0, ranges_b = 0;  // of the run with most
  for (const LowRankRun& run : runs) {
    at.push_back(elements);
    elements += size_t(run.rows) * run.term->a.rows;
    ranges_a = std::max(ranges_a, (run.term->a.rows + kRangeA - 1) / kRangeA);
    ranges_b = std::max(ranges_b, (run.term->b.rows + kRangeB - 1) / kRangeB);
  }
  float* t = low_rank_work_.reserve<float>(elements, "low-rank products");
  // Calls body(run, number of the run, first row, end) on ranges of the rows of each run's A or B.
  const auto for_each_range = [&](int ranges, int range_rows, const Matrix LowRank::* matrix, const auto& body) {
    pool_.parallel_for(int64_t(runs.size()) * ranges, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) {
        const size_t r = size_t(i / ranges);
        const int first = int(i % ranges) * range_rows, rows = (runs[r].term->*matrix).rows;
        if (first < rows) body(runs[r], r, first, std::min(first + range_rows, rows));
      }
    });
  };
  for_each_range(ranges_a, kRangeA, &LowRank::a, [&](const LowRankRun& run, size_t r, int first, int end) {
    const Matrix& a = run.term->a;
    float* to = t + at[r];
    kernels_.linear({.rows = run.rows, .in = a.cols, .out = a.rows, .accumulate = 0}, first, end,
                    x + size_t(run.first) * a.cols, a.data, nullptr, to);
    for (int row = 0; row < run.rows; ++row) {
      for (int i = first; i < end; ++i) to[size_t(row) * a.rows + i] *= run.term->scale;
    }
  });
  for_each_range(ranges_b, kRangeB, &LowRank::b, [&](const LowRankRun& run, size_t r, int first, int end) {
    const Matrix& b = run.term->b;
    kernels_.linear({.rows = run.rows, .in = b.cols, .out = b.rows, .accumulate = accumulate ? 1 : 0}, first, end,
                    t + at[r], b.data, nullptr, y + size_t(run.first) * b.rows);
  });
}

void CpuBackend::low_rank(RowsOf, std::span<const LowRank* const> terms, Operand x, float* y) {
  runs_.clear();
  for (int row = 0; row < int(terms.size()); ++row) {
    const LowRank* term = terms[row];
    if (term == nullptr || term->empty()) continue;
    const bool continues = !runs_.empty() && runs_.back().term == term && runs_.back().first + runs_.back().rows == row;
    if (continues) {
      ++runs_.back().rows;
    } else {
      runs_.push_back({term, row, 1});
    }
  }
  if (!runs_.empty()) multiply_runs(runs_, x.as<float>(), y, true);
}

static const LowRank* term_of(AdapterRows adapters, int token, const std::vector<LowRank> LayerAdapter::* matrix,
                              int expert) {
  const LayerAdapter* adapter = adapters[size_t(token)];
  if (adapter == nullptr || (adapter->*matrix).empty()) return nullptr;
  const LowRank& term = (adapter->*matrix)[size_t(expert)];
  return term.empty() ? nullptr : &term;
}

template <typename Read>
void CpuBackend::expert_terms(const ExpertsArgs& args, AdapterRows adapters,
                              const std::vector<LowRank> LayerAdapter::* matrix, const Read& read, ExpertTerms& terms) {
  terms.of_pair.clear();
  if (adapters.empty()) return;
  const bool is_down = matrix == &LayerAdapter::down;
  const size_t in = size_t(is_down ? args.intermediate : args.hidden);
  const size_t out = size_t(is_down ? args.hidden : 2 * args.intermediate);
  runs_.clear();
  std::vector<int> with_term;  // indexes into pairs_
  for (const int expert : chosen_) {
    for (int i = pair_begin_[expert]; i < pair_begin_[expert + 1]; ++i) {
      const LowRank* term = term_of(adapters, pairs_[i] / args.top_k, matrix, expert);
      if (term == nullptr) continue;
      if (!runs_.empty() && runs_.back().term == term) {
        ++runs_.back().rows;
      } else {
        runs_.push_back({term, int(with_term.size()), 1});
      }
      with_term.push_back(i);
    }
  }
  if (with_term.empty()) return;
  float* x = term_inputs_.reserve<float>(with_term.size() * in, "inputs of low-rank products");
  Scratch& rows = is_down ? down_term_rows_ : gate_up_term_rows_;
  float* y = rows.reserve<float>(with_term.size() * out, "low-rank terms of the experts");
  pool_.parallel_for(int64_t(with_term.size()), 4, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) read(with_term[size_t(i)], x + size_t(i) * in);
  });
  multiply_runs(runs_, x, y, false);
  terms.of_pair.assign(pairs_.size(), nullptr);
  for (size_t i = 0; i < with_term.size(); ++i) terms.of_pair[size_t(with_term[i])] = y + i * out;
}

void CpuBackend::gate_up_terms(const ExpertsArgs& args, AdapterRows adapters, const float* normed) {
  const size_t hidden = size_t(args.hidden);
  expert_terms(
      args, adapters, &LayerAdapter::gate_up,
      [&](int i, float* to) { std::copy_n(normed + size_t(pairs_[i] / args.top_k) * hidden, hidden, to); },
      gate_up_terms_);
}

void CpuBackend::down_terms(const ExpertsArgs& args, AdapterRows adapters, const float* act) {
  constexpr int kHalf = kMxBlock / 2;
  expert_terms(
      args, adapters, &LayerAdapter::down,
      [&](int i, float* to) {
        const float* from = act + size_t(pairs_[i]) * args.intermediate;  // split: see kernels/cpu/experts.inl
        for (int k = 0; k < args.intermediate; k += kMxBlock) {
          for (int j = 0; j < kHalf; ++j) {
            to[k + 2 * j] = from[k + j];
            to[k + 2 * j + 1] = from[k + kHalf + j];
          }
        }
      },
      down_terms_);
}

void CpuBackend::down_terms(const ExpertsArgs& args, AdapterRows adapters, const uint16_t* act_panels) {
  down_terms_.of_pair.clear();
  if (adapters.empty()) return;
  const size_t panel_elements = size_t(bf16_->panel_rows) * args.intermediate;
  std::vector<int> chosen_of(size_t(args.experts), -1);
  for (size_t c = 0; c < chosen_.size(); ++c) chosen_of[size_t(chosen_[c])] = int(c);
  std::vector<int> expert_of(pairs_.size());
  for (const int expert : chosen_) {
    std::fill(expert_of.begin() + pair_begin_[expert], expert_of.begin() + pair_begin_[expert + 1], expert);
  }
  expert_terms(
      args, adapters, &LayerAdapter::down,
      [&](int i, float* to) {
        const int expert = expert_of[size_t(i)], row = i - pair_begin_[expert];
        const size_t panel = size_t(panel_begin_[size_t(chosen_of[size_t(expert)])] + row / bf16_->panel_rows);
        const uint16_t* from = act_panels + panel * panel_elements + size_t(row % bf16_->panel_rows) * kMxBlock;
        for (int k = 0; k < args.intermediate; k += kMxBlock) {
          kernels_.widen(kMxBlock, from + size_t(k) * bf16_->panel_rows, to + k);
        }
      },
      down_terms_);
}

void CpuBackend::down_terms_of_rows(const ExpertsArgs& args, AdapterRows adapters, const float* act) {
  const size_t intermediate = size_t(args.intermediate);
  expert_terms(
      args, adapters, &LayerAdapter::down,
      [&](int i, float* to) { std::copy_n(act + size_t(i) * intermediate, intermediate, to); }, down_terms_);
}

void CpuBackend::add_down_terms(const ExpertsArgs& args, float* out) {
  if (down_terms_.of_pair.empty()) return;
  const size_t hidden = size_t(args.hidden);
  pool_.parallel_for(int64_t(pairs_.size()), 4, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const float* term = down_terms_.of_pair[size_t(i)];
      if (term == nullptr) continue;
      float* row = out + size_t(pairs_[size_t(i)]) * hidden;
      for (size_t c = 0; c < hidden; ++c) row[c] += term[c];
    }
  });
}

}  // namespace oss
