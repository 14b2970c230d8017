// The CPU below the seam: kernels of the best instruction set, divided among a pool of threads. Weights are used where
// the file is mapped; only vectors (norms, biases, sinks) are copied, as f32. A unit that wants strips (kernels/cpu/strips.h)
// has its experts in a file of their own, made once, or in memory.
//
// Numerics "exact" multiplies float32 activations; "fast" packs them as bf16 for a unit that multiplies those
// (kernels/cpu/bf16.h); norms and sums are the same, and so is attention where the unit has none of its own.
//
// With DenseWeights::kQ8 matrices are copied in Q8 blocks, all but the router's, those whose rows are no whole blocks, and
// those with a weight that has no scale. The file's pages are let go as they are read.
#pragma once
#include <memory>
#include <set>
#include <vector>

#include "kernels/cpu/bf16.h"
#include "kernels/cpu/kernels.h"
#include "native/backend/backend.h"
#include "native/base/mapped_file.h"
#include "native/base/packed_file.h"
#include "native/base/synthetic_tensor.h"
#include "native/base/thread_pool.h"

namespace oss {

// Loading is in pack_weights.cpp, the operations are in cpu_backend.cpp.
class CpuBackend final : public Backend {
 public:
  CpuBackend(const cpu::Kernels& kernels, int threads, const cpu::Bf16Kernels* bf16 = nullptr,
             DenseWeights dense_weights = DenseWeights::kBF16, std::string threads_why = "asked for")
      : kernels_(kernels),
        bf16_(bf16),
        dense_weights_(dense_weights),
        pool_(threads),
        threads_why_(std::move(threads_why)) {}

  DeviceInfo info() const override;
  DeviceMemory memory() const override;
  BackendDefaults defaults() const override;
  void check(const StepLimits&, KvType) const override;
  Buffer allocate(size_t bytes, const char* what) override;
  size_t operand_bytes() const override { return sizeof(float); }
  bool operands_have_low() const override { return false; }

  // bf16 matrices stay in the mapped files, vectors are copied as f32.
  PackedWeights keep_packed(std::span<const ExpertShape>, std::span<const std::string> places, uint64_t key,
                            const std::function<bool()>& cancelled) override;
  uint64_t matrix_bytes(int64_t rows, int64_t cols, MatrixUse) const override;
  uint64_t vector_bytes(int64_t size) const override { return uint64_t(size) * sizeof(float); }
  uint64_t experts_bytes(int64_t experts, int64_t rows, int64_t cols) const override;
  void reserve_weights(uint64_t) override {}
  Matrix pack_matrix(const HostTensor& weight, MatrixUse) override;
  Vector pack_vector(const HostTensor& vector) override;
  Matrix pack_rope_matrix(const HostTensor& weight) override;
  ExpertMatrix pack_experts(const HostTensor& blocks, const HostTensor& scales, const HostTensor& bias,
                            ExpertUse) override;
  void loaded() override;
  size_t packed_bytes() const override { return packed_bytes_; }
  uint64_t workspace_bytes(const StepLimits&) const override { return 0; }  // grows with the steps instead
  void reserve_workspace(const StepLimits&) override {}

  void begin(const Step&) override {}
  // Throws kModelFormat when files that it computes from have been shortened.
  void run(const std::function<void()>& body) override;

  void embed(const EmbedArgs&, const Matrix& table, const Step&, float* x) override;
  void rms_norm(const RmsNormArgs&, RowsOf, const float* x, const Vector& w, Operand y) override;
  void linear(const LinearArgs&, RowsOf, Operand x, const Matrix& w, const Vector* bias, float* y) override;
  void qkv(const QkvArgs&, const Step&, Operand x, const QkvWeights&, Operand q, void* cache) override;
  void attention(const AttentionArgs&, const Step&, Operand q, const void* cache, const Vector& sinks,
                 Operand out) override;
  void router(const RouterArgs&, const float* logits, int32_t* index, float* weight) override;
  void experts(const ExpertsArgs&, Operand normed, const int32_t* index, const float* weight,
               const ExpertMatrix& gate_up, const ExpertMatrix& down, float* x) override;
  void gather_rows(const Step&, int hidden, const float* x, float* rows) override;
  void sample(int rows, int vocab, float* logits, std::span<const SamplingArgs> args,
              std::span<const SamplingContext> contexts) override;
  std::vector<Sampled> sampled() override;
  bool runs_ahead() const override { return false; }
  void read(const float* from, std::span<float> to) override;
  void write(std::span<const float> from, float* to) override;

  // The parts of qkv. q, k [tokens, heads, head_dim] are rotated in place.
  void rope(const RopeArgs&, const Step&, float* x);
  void kv_write(const KvArgs&, const Step&, const float* k, const float* v, void* cache);

 private:
  // Memory of one kind of intermediate result: grows to the largest step, then stays.
  class Scratch {
   public:
    template <typename T>
    T* reserve(CpuBackend& backend, size_t count, const char* what) {
      return static_cast<T*>(reserve_bytes(backend, count * sizeof(T), what));
    }

   private:
    void* reserve_bytes(CpuBackend& backend, size_t bytes, const char* what);
    Buffer buffer_;
  };

  // Consecutive tokens of one sequence, and the chunks of keys that they see.
  struct AttentionBlock {
    int first, tokens;
    int first_chunk, last_chunk;
    size_t first_part;  // (kv head, chunk) pairs of the blocks before
    size_t parts(const AttentionArgs& args) const {
      return size_t(last_chunk - first_chunk + 1) * size_t(args.kv_heads);
    }
  };

  // Activation rows as a product with bf16 or with Q8 weights reads them: all of them packed as bf16, or as they are.
  struct Packed {
    const float* rows = nullptr;
    bool for_q8 = false;
    const uint16_t* panels = nullptr;
    const uint16_t* low = nullptr;
  };
  Packed pack_rows(int rows, int cols, const float* x, bool precise, bool for_q8);
  void multiply(const LinearArgs&, const Packed& x, const Matrix& w, const Vector* bias, float* y);

  bool becomes_q8(int64_t cols, MatrixUse) const;
  bool in_strips(MatrixUse) const;
  Buffer allocate_weights(size_t bytes);
  bool packs_experts() const { return bf16_ != nullptr && bf16_->strips; }
  using PackStrip = std::function<void(uint8_t* codes, uint8_t* scales)>;
  void for_each_strip(const HostTensor& blocks, const HostTensor& scales, ExpertUse,
                      const std::function<void(int64_t strip, const PackStrip&)>& body);
  void pack_strips_to_file(const HostTensor& blocks, const HostTensor& scales, ExpertUse, size_t codes,
                           size_t exponents);
  bool quantize(const HostTensor& weight, MatrixUse, int8_t* codes, uint16_t* scales);

  // What runs the chunks of a task, and how many tokens it takes at once: on every call the same, for a sequence must not
  // change hands.
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
  void check_files() const;
  void experts_exact(const ExpertsArgs&, const float* normed, const float* weight, const ExpertMatrix& gate_up,
                     const ExpertMatrix& down, float* x);
  void experts_fast(const ExpertsArgs&, const float* normed, const float* weight, const ExpertMatrix& gate_up,
                    const ExpertMatrix& down, float* x);

  const cpu::Kernels& kernels_;
  const cpu::Bf16Kernels* bf16_;  // null: exact
  const DenseWeights dense_weights_;
  ThreadPool pool_;
  const std::string threads_why_;

  SyntheticMemory synthetic_;          // weights that lie in no file
  std::set<const MappedFile*> files_;  // that weights lie in, or came from
  std::vector<std::unique_ptr<float[]>> packed_;
  std::vector<Buffer> weights_;  // Q8, and MXFP4 in strips
  size_t packed_bytes_ = 0;
  std::unique_ptr<PackedFile> packed_file_;  // with codes and scales of each pack_experts(), in turn
  size_t next_section_ = 0;

  std::vector<AttentionBlock> blocks_;
  Scratch qkv_work_, attention_work_, attention_parts_;

  std::vector<int32_t> pairs_;       // token·top_k + k, grouped by expert
  std::vector<int32_t> pair_begin_;  // [experts + 1] into pairs_
  std::vector<int32_t> chosen_;      // experts with at least one pair
  Scratch split_, act_, out_;

  struct ExpertPanel {  // fast: rows of one expert that are packed together
    int first_pair, num_pairs;
  };
  std::vector<ExpertPanel> expert_panels_;  // expert by expert, as chosen_
  std::vector<int> panel_begin_;            // [chosen_.size()] into expert_panels_
  Scratch panels_, panels_low_, bf16_work_;

  std::vector<std::vector<Sampled>> drawn_;  // and not asked for yet
};

}  // namespace oss
