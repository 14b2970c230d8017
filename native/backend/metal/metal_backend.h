// The Metal backend: it encodes the kernels of kernels/metal for one GPU. Everything here is plain C++; device.h is the
// way to Apple's frameworks.
#pragma once
#include <memory>
#include <vector>

#include "native/backend/backend.h"
#include "native/backend/metal/encoder.h"
#include "native/backend/metal/metal_adapters.h"
#include "native/backend/metal/metal_sizes.h"
#include "native/backend/metal/metal_weights.h"
#include "native/backend/metal/operations.h"
#include "native/backend/metal/step_arrays.h"

namespace oss {

class MetalBackend final : public Backend {
 public:
  MetalBackend(std::shared_ptr<metal::Device> device, bool repeatable,
               DenseWeights dense_weights = DenseWeights::kBF16);
  ~MetalBackend() override;

  DeviceInfo info() const override;
  DeviceMemory memory() const override;
  const BackendSizes& sizes() const override { return sizes_; }
  Buffer allocate(size_t bytes, const char* what) override;

  WeightPacker& packer() override { return weights_; }
  std::unique_ptr<WeightPacker> make_packer() override { return std::make_unique<MetalWeights>(device_, sizes_); }
  void reserve_workspace(const StepLimits&) override;
  std::shared_ptr<const AdapterWeights> hold_adapter(std::shared_ptr<const AdapterWeights> host) override;

  void begin(const Step&) override;
  void run(const std::function<void()>& body, bool may_repeat) override;
  double timed(const std::function<void()>& work, bool again) override;
  Peaks peaks(size_t cold_bytes, double seconds) override;

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

  // For tests.
  const metal::Encoder& encoder() const { return *encoder_; }

 private:
  template <typename Body>
  void in_portions(int rows, int few, const Body& body) const;
  metal::Cache cache_at(const void* cache) const;

  std::shared_ptr<metal::Device> device_;
  const bool repeatable_;
  const MetalSizes sizes_;
  MetalWeights weights_;
  MetalAdapters adapters_;
  const std::shared_ptr<metal::Encoder> encoder_;

  bool resident_ = false;
  std::unique_ptr<StepArraysRing> ring_;
  std::unique_ptr<SamplingArrays> sampling_;
  Buffer attention_scratch_, experts_scratch_, sample_scratch_;
  metal::StepArrays step_;  // of the step that begin() received
  bool has_adapters_ = false;
  int drawn_rows_ = 0;     // of the draws that run
  uint64_t drawn_by_ = 0;  // their commit
};

}  // namespace oss
