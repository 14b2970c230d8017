// The memory that the Metal backend takes: the same on every GPU, so a plan needs none. Weights stay in the mapped
// files; vectors are copied, as f32, and matrices that become Q8.
#pragma once
#include "native/backend/backend_sizes.h"

namespace oss {

class MetalSizes final : public BackendSizes {
 public:
  explicit MetalSizes(bool repeatable, DenseWeights dense_weights = DenseWeights::kBF16)
      : repeatable_(repeatable), dense_weights_(dense_weights) {}

  BackendDefaults defaults() const override;
  void check(const StepLimits&, KvType) const override;
  size_t operand_bytes() const override { return sizeof(uint16_t); }
  bool operands_have_low() const override { return true; }
  bool packs_experts_to_file() const override { return false; }

  uint64_t matrix_bytes(int64_t rows, int64_t cols, MatrixUse, bool stored_q8) const override;
  uint64_t vector_bytes(int64_t size) const override { return padded(uint64_t(size) * sizeof(float)); }
  uint64_t experts_bytes(int64_t, int64_t, int64_t) const override { return 0; }

  bool becomes_q8(int64_t cols, MatrixUse, bool stored_q8) const override;
  uint64_t q8_bytes(int64_t rows, int64_t cols) const;  // of a matrix in Q8

  uint64_t workspace_bytes(const StepLimits&) const override;
  uint64_t low_rank_bytes(const StepLimits&) const override;
  uint64_t adapter_table_bytes(int layers, int experts) const override;

  // The most tokens of a step that attend alone.
  int most_singles(const StepLimits& limits) const { return repeatable_ ? limits.tokens : limits.sequences; }

 private:
  const bool repeatable_;
  const DenseWeights dense_weights_;
};

}  // namespace oss
