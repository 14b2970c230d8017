// The memory that the CPU backend takes. Weights are used in the mapped files; these are the copies, and the defaults.
#pragma once
#include "kernels/cpu/bf16.h"
#include "native/backend/backend_sizes.h"

namespace oss {

class CpuSizes final : public BackendSizes {
 public:
  // bf16: the unit that multiplies, which this machine need not have; null: numerics "exact".
  // Only its numbers are read, no function is called.
  CpuSizes(const cpu::Bf16Kernels* bf16, DenseWeights dense_weights, int threads,
           ExpertWeights expert_weights = ExpertWeights::kMXFP4)
      : bf16_(bf16), dense_weights_(dense_weights), expert_weights_(expert_weights), threads_(threads) {}

  BackendDefaults defaults() const override;
  void check(const StepLimits&, KvType) const override;
  size_t operand_bytes() const override { return sizeof(float); }
  bool operands_have_low() const override { return false; }
  bool packs_experts_to_file() const override { return packs_experts(); }

  uint64_t matrix_bytes(int64_t rows, int64_t cols, MatrixUse, bool stored_q8) const override;
  uint64_t vector_bytes(int64_t size) const override { return uint64_t(size) * sizeof(float); }
  uint64_t experts_bytes(int64_t experts, int64_t rows, int64_t cols) const override;

  // Work memory grows with the steps: this is the most.
  uint64_t workspace_bytes(const StepLimits&) const override;

  uint64_t low_rank_bytes(const StepLimits&) const override;

  bool becomes_q8(int64_t cols, MatrixUse, bool stored_q8) const override;
  uint64_t q8_bytes(int64_t rows, int64_t cols, MatrixUse) const;  // of a matrix in Q8
  bool in_strips(MatrixUse) const;                                 // of a matrix in Q8
  bool packs_experts() const { return has_strips() && expert_weights_ == ExpertWeights::kMXFP4; }

 private:
  bool has_strips() const { return bf16_ != nullptr && bf16_->strips; }
  uint64_t expert_bytes(const StepLimits&) const;
  uint64_t attention_bytes(const StepLimits&) const;

  const cpu::Bf16Kernels* const bf16_;
  const DenseWeights dense_weights_;
  const ExpertWeights expert_weights_;
  const int threads_;
};

}  // namespace oss
