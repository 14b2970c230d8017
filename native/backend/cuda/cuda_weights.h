// Weights on the device: one allocation, in which each weight is packed for the kernels that read it.
#pragma once
#include <functional>
#include <memory>

#include "native/backend/cuda/weight_stream.h"
#include "native/backend/weight_packer.h"

namespace oss {

class CudaWeights final : public WeightPacker {
 public:
  explicit CudaWeights(std::shared_ptr<Gpu> gpu) : gpu_(std::move(gpu)), module_(gpu_->module) {}

  void reserve_weights(uint64_t bytes) override;

  Matrix pack_matrix(const HostTensor& weight, MatrixUse) override;
  Vector pack_vector(const HostTensor& vector) override;
  ExpertMatrix pack_experts(const HostTensor& blocks, const HostTensor& scales, const HostTensor& bias,
                            ExpertUse) override;
  void loaded() override;
  size_t packed_bytes() const override { return weights_used_; }

 private:
  std::byte* take_weights(uint64_t bytes);
  // Sends a tensor in pieces of whole `unit`s and packs each piece.
  void send_units(const HostTensor& tensor, int64_t units, size_t unit_bytes,
                  const std::function<void(const void* raw, int64_t first, int64_t count)>& pack);
  Matrix pack_product(const HostTensor& weight, cuda::RowOrder order);
  void launched(cuda::Status status, const char* kernel) const { gpu_->check(status, kernel); }

  std::shared_ptr<Gpu> gpu_;
  const cuda::Module& module_;
  Buffer weights_;
  uint64_t weights_used_ = 0;
  std::unique_ptr<WeightStream> stream_;  // while loading
};

}  // namespace oss
