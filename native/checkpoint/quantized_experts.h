// Experts that a file holds as floats, made MXFP4 when they are read.
#pragma once
#include <memory>

#include "native/checkpoint/converted_tensors.h"

namespace oss {

enum class ExpertOrder {
  kRowsOfOutputs,  // [experts, rows, cols], as MXFP4 experts
  kRowsOfInputs,   // [experts, cols, rows], as transformers keeps them unquantised
};

// U8 blocks [experts, rows, cols/32, 16] and their scales. `stored` is a plain float tensor; cols is a multiple of 32.
// What is lost is added to `conversions`. Reading throws kModelFormat for values that are not finite.
Mxfp4Tensors quantized_experts(const StoredTensor& stored, ExpertOrder order,
                               const std::shared_ptr<Conversions>& conversions);

}  // namespace oss
