// The CUDA backend: it runs the kernels of libgptoss_cuda on one GPU.
//
// All data that changes between steps is at fixed addresses (StepBuffers). So a decode step is recorded once per shape
// and replayed; only token ids and log probabilities come back.
#pragma once
#include <memory>
#include <vector>

#include "native/backend/backend.h"
#include "native/backend/cuda/cuda_adapters.h"
#include "native/backend/cuda/cuda_sizes.h"
#include "native/backend/cuda/cuda_weights.h"
#include "native/backend/cuda/gpu.h"
#include "native/backend/cuda/graphs.h"
#include "native/backend/cuda/step_buffers.h"

namespace oss {

class CudaBackend final : public Backend {
 public:
  CudaBackend(const cuda::Module& module, int device, bool repeatable);
  ~CudaBackend() override;

  DeviceInfo info() const override;
  DeviceMemory memory() const override { return gpu_->memory(); }
  const BackendSizes& sizes() const override { return sizes_; }
  Buffer allocate(size_t bytes, const char* what) override;

  WeightPacker& packer() override { return weights_; }
  std::unique_ptr<WeightPacker> make_packer() override { return std::make_unique<CudaWeights>(gpu_); }
  void reserve_workspace(const StepLimits&) override;
  std::shared_ptr<const AdapterWeights> hold_adapter(std::shared_ptr<const AdapterWeights> host) override {
    return adapters_.hold(*host);
  }

  void begin(const Step&) override;
  void run(const std::function<void()>& body, bool may_repeat) override;
  double timed(const std::function<void()>& work, bool again) override;
  Peaks peaks(size_t cold_bytes, double seconds) override;

  void attention_block(const AttentionBlock&, const Step&) override;
  void moe_block(const MoeBlock&) override;

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
  bool runs_ahead() const override { return true; }
  void read(const float* from, std::span<float> to) override;
  void write(std::span<const float> from, float* to) override;

 private:
  void linear(const LinearArgs&, RowsOf, Operand x, const Matrix& w, const Vector* bias, float* y,
              const cuda::Prefetch& next);
  void launched(cuda::Status status, const char* kernel) const { gpu_->check(status, kernel); }
  const int32_t* count_of(RowsOf rows) const;
  // Whether the current step runs fused.
  bool fuses() const { return capacity_.tokens <= most_fused_tokens_; }
  int capacity_of(RowsOf rows) const { return rows == RowsOf::kTokens ? capacity_.tokens : capacity_.rows; }

  std::shared_ptr<Gpu> gpu_;
  const cuda::Module& module_;
  const bool repeatable_;
  const CudaSizes sizes_;

  CudaWeights weights_;
  CudaAdapters adapters_;

  StepLimits limits_;
  int most_fused_tokens_ = 0;  // up to this number, norms and routers are fused with the launches that read them
  std::unique_ptr<StepBuffers> step_;
  std::unique_ptr<SamplingBuffers> sampling_;
  Buffer attention_scratch_, attention_counters_, experts_scratch_, sample_scratch_;

  // Capacities of the step that begin() received.
  StepKey capacity_;
  int tiles_ = 0, singles_ = 0;  // capacities
  bool has_adapters_ = false;    // some of its tokens have
  bool recorded_ = false;        // its launches depend only on the key
  std::unique_ptr<Graphs> graphs_;
};

}  // namespace oss
