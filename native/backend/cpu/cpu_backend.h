// The CPU backend: it runs the kernels of the best instruction set on a pool of threads.
//
// Numerics "exact" multiplies float32 activations; "fast" packs them as bf16 for a unit that multiplies bf16
// (kernels/cpu/bf16.h). Norms and sums are the same, and so is attention where the unit has no attention kernel.
#pragma once
#include <memory>
#include <vector>

#include "kernels/cpu/bf16.h"
#include "kernels/cpu/kernels.h"
#include "native/backend/backend.h"
#include "native/backend/cpu/cpu_weights.h"
#include "native/backend/cpu/host_memory.h"
#include "native/backend/cpu/ranges.h"
#include "native/base/thread_pool.h"

namespace oss {

DeviceMemory cpu_memory();  // what this process can use now

// Products (including qkv), attention, experts, those in bf16 and low-rank terms have one file each; the smaller
// operations are in cpu_backend.cpp.
class CpuBackend final : public Backend {
 public:
  CpuBackend(const cpu::Kernels& kernels, int threads, const cpu::Bf16Kernels* bf16 = nullptr,
             DenseWeights dense_weights = DenseWeights::kBF16, std::string threads_why = "asked for",
             ExpertWeights expert_weights = ExpertWeights::kMXFP4)
      : kernels_(kernels),
        bf16_(bf16),
        pool_(threads),
        sizes_(bf16, dense_weights, threads, expert_weights),
        weights_(kernels, sizes_, pool_),
        threads_why_(std::move(threads_why)) {}

  DeviceInfo info() const override;
  DeviceMemory memory() const override { return cpu_memory(); }
  const BackendSizes& sizes() const override { return sizes_; }
  Buffer allocate(size_t bytes, const char* what) override;

  WeightPacker& packer() override { return weights_; }
  std::unique_ptr<WeightPacker> make_packer() override { return std::make_unique<CpuWeights>(kernels_, sizes_, pool_); }
  void reserve_workspace(const StepLimits&) override {}
  void keep_threads_apart() override { pool_.keep_apart(); }

  Peaks peaks(size_t cold_bytes, double seconds) override;

  void begin(const Step&) override {}
  // Throws kModelFormat when files that hold weights have been shortened.
  void run(const std::function<void()>& body, bool may_repeat) override;

  void embed(const EmbedArgs&, const Matrix& table, const Step&, float* x) override;
  void rms_norm(const RmsNormArgs&, RowsOf, const float* x, const Vector& w, Operand y) override;
  void linear(const LinearArgs&, RowsOf, Operand x, const Matrix& w, const Vector* bias, float* y) override;
  void qkv(const QkvArgs&, const Step&, Operand x, const QkvWeights&, AdapterRows, Operand q, void* cache) override;
  void attention(const AttentionArgs&, const Step&, Operand q, const void* cache, const Vector& sinks,
                 Operand out) override;
  void router(const RouterArgs&, const float* logits, int32_t* index, float* weight) override;
  void experts(const ExpertsArgs&, Operand normed, const int32_t* index, const float* weight,
               const ExpertMatrix& gate_up, const ExpertMatrix& down, AdapterRows, float* x) override;
  void low_rank(RowsOf, std::span<const LowRank* const> terms, Operand x, float* y) override;
  void gather_rows(const Step&, int hidden, const float* x, float* rows) override;
  void sample(int rows, int vocab, float* logits, std::span<const SamplingArgs> args,
              std::span<const SamplingContext> contexts) override;
  std::vector<Sampled> sampled() override;
  bool runs_ahead() const override { return false; }
  void read(const float* from, std::span<float> to) override;
  void write(std::span<const float> from, float* to) override;

  size_t work_bytes() const;           // that the steps so far took beside the activations
  size_t low_rank_work_bytes() const;  // the same, for adapters

  // The parts of qkv. q, k [tokens, heads, head_dim] are rotated in place.
  void rope(const RopeArgs&, const Step&, float* x);
  void kv_write(const KvArgs&, const Step&, const float* k, const float* v, void* cache);

 private:
  // Consecutive tokens of one sequence, and the chunks of keys that these tokens see.
  struct TokenBlock {
    int first, tokens;
    int first_chunk, last_chunk;
    size_t first_part;  // the number of (kv head, chunk) pairs in the earlier blocks
    size_t parts(const AttentionArgs& args) const {
      return size_t(last_chunk - first_chunk + 1) * size_t(args.kv_heads);
    }
  };

  // Activation rows as a product with bf16 or Q8 weights reads them: packed as bf16, or unchanged.
  struct Packed {
    const float* rows = nullptr;
    bool for_q8 = false;
    const uint16_t* panels = nullptr;
    const uint16_t* low = nullptr;
  };
  Packed pack_rows(int rows, int cols, const float* x, bool precise, bool for_q8);
  void multiply(const LinearArgs&, const Packed& x, const Matrix& w, const Vector* bias, float* y);

  // The kernel that runs the chunks of a task, and the number of tokens that it takes at once. Every call returns the
  // same kernel, so that a sequence never mixes two.
  struct AttentionKernel {
    int tokens;
    size_t work_floats;
    void (*chunk)(const AttentionArgs&, const cpu::AttentionTask&, int chunk, float* work, float* state);
  };
  AttentionKernel attention_kernel(const AttentionArgs&) const;
  void divide_attention(const AttentionArgs&, const Step&, int block_tokens);
  void group_by_expert(const ExpertsArgs&, const int32_t* index);
  std::span<const int32_t> pairs_of(int expert) const {
    return std::span(pairs_).subspan(pair_begin_[expert], pair_begin_[expert + 1] - pair_begin_[expert]);
  }
  void experts_exact(const ExpertsArgs&, const float* normed, const float* weight, const ExpertMatrix& gate_up,
                     const ExpertMatrix& down, AdapterRows, float* x);
  void experts_fast(const ExpertsArgs&, const float* normed, const float* weight, const ExpertMatrix& gate_up,
                    const ExpertMatrix& down, AdapterRows, float* x);
  void experts_bf16(const ExpertsArgs&, const float* normed, const float* weight, const ExpertMatrix& gate_up,
                    const ExpertMatrix& down, AdapterRows, float* x);

  // fast: divides the pairs of each chosen expert into panels; packs row_of(i) for each of pairs_.
  void divide_into_panels();
  template <typename RowOf>
  const uint16_t* pack_pairs(int cols, decltype(cpu::Bf16Kernels::pack) pack, const RowOf& row_of) {
    const size_t elements = size_t(bf16_->panel_rows) * cpu::panel_cols(cols);
    uint16_t* panels = panels_.reserve<uint16_t>(expert_panels_.size() * elements, "the experts' inputs");
    pool_.parallel_for(int64_t(expert_panels_.size()), 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t p = begin; p < end; ++p) {
        const auto [first, n] = expert_panels_[size_t(p)];
        const float* from[kMostPanelRows];
        for (int i = 0; i < n; ++i) from[i] = row_of(first + i);
        pack(cols, from, n, panels + size_t(p) * elements, nullptr);
      }
    });
    return panels;
  }

  // The activations of pairs_ as products with bf16 weights read them.
  struct PairRows {
    const float* rows = nullptr;  // [pairs, cols]
    const uint16_t* panels = nullptr;
  };
  // Calls body(expert, its pairs in pairs_, first row, number of rows, products [pairs, rows] with bias) on ranges of
  // the rows of each chosen expert.
  template <typename Body>
  void bf16_products(const ExpertMatrix&, const PairRows& x, const Body& body);

  void sum_experts(const ExpertsArgs&, const float* weight, const float* out, float* x);

  // Consecutive rows with the same low-rank term.
  struct LowRankRun {
    const LowRank* term;
    int first, rows;
  };
  void multiply_runs(std::span<const LowRankRun> runs, const float* x, float* y, bool accumulate);
  // The terms of the experts' pairs. They are null or empty for pairs_ without a term.
  struct ExpertTerms {
    std::vector<const float*> of_pair;  // as pairs_
    const float* const* of(int first) const { return of_pair.empty() ? nullptr : of_pair.data() + first; }
  };
  // read(i, to) copies the input of pairs_[i].
  template <typename Read>
  void expert_terms(const ExpertsArgs&, AdapterRows, const std::vector<LowRank> LayerAdapter::* matrix,
                    const Read& read, ExpertTerms& terms);
  void gate_up_terms(const ExpertsArgs&, AdapterRows, const float* normed);
  void down_terms(const ExpertsArgs&, AdapterRows, const float* act);
  void down_terms(const ExpertsArgs&, AdapterRows, const uint16_t* act_panels);
  void down_terms_of_rows(const ExpertsArgs&, AdapterRows, const float* act);
  void add_down_terms(const ExpertsArgs&, float* out);

  const cpu::Kernels& kernels_;
  const cpu::Bf16Kernels* bf16_;  // null: exact
  ThreadPool pool_;
  const CpuSizes sizes_;
  CpuWeights weights_;
  const std::string threads_why_;

  std::vector<TokenBlock> blocks_;
  Scratch qkv_work_, attention_work_, attention_parts_;

  std::vector<int32_t> pairs_;       // token·top_k + k, grouped by expert
  std::vector<int32_t> pair_begin_;  // [experts + 1] into pairs_
  std::vector<int32_t> chosen_;      // experts with at least one pair
  Scratch split_, act_, out_, products_;
  std::vector<LowRankRun> runs_;
  ExpertTerms gate_up_terms_, down_terms_;
  Scratch low_rank_work_, term_inputs_, gate_up_term_rows_, down_term_rows_;

  struct ExpertPanel {  // fast: rows of one expert that are packed together
    int first_pair, num_pairs;
  };
  std::vector<ExpertPanel> expert_panels_;  // in the order of chosen_
  std::vector<int> panel_begin_;            // [chosen_.size()] into expert_panels_
  Scratch panels_, panels_low_, bf16_work_;

  std::vector<std::vector<Sampled>> drawn_;  // not fetched by sampled() yet
};

}  // namespace oss
