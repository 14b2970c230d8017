// Experts that a file holds as floats, kept in bf16.
#pragma once
#include <memory>

#include "native/checkpoint/quantized_experts.h"

namespace oss {

// BF16 [experts, rows, cols]. `stored` is a plain float tensor. BF16 in the order of outputs stays that part of the
// file; in the order of inputs it is transposed. F32 and F16 are rounded to nearest, and counted in `conversions`.
// Reading what is not a part of the file throws kModelFormat for values that are not finite.
HostTensor bf16_experts(const StoredTensor& stored, ExpertOrder order, const std::shared_ptr<Conversions>& conversions);

}  // namespace oss
