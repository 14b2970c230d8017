// A matrix of an adapter as it lies in the file: F32, BF16 or F16, with any strides. Expert factors are slices of one
// tensor.
#pragma once
#include <cstdint>
#include <vector>

#include "native/base/tensor.h"

namespace oss {

struct FactorView {
  DType dtype = DType::kF32;
  const std::byte* data = nullptr;         // of element (0, 0)
  int64_t row_stride = 0, col_stride = 0;  // in elements
  int rows = 0, cols = 0;

  // A whole tensor [rows, cols].
  static FactorView of(const HostTensor& tensor);
  FactorView transposed() const;
  FactorView rows_of(int begin, int end) const;  // rows [begin, end)

  // Element by element, as float32 [rows, cols].
  std::vector<float> values() const;
};

// The index of the first element that is not a finite number; -1: all are.
int64_t first_not_finite(const HostTensor& tensor);

}  // namespace oss
