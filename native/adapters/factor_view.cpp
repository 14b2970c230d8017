#include "native/adapters/factor_view.h"

#include <cmath>
#include <cstring>

#include "kernels/common/dtype.h"

namespace oss {

static float f16_to_f32(uint16_t bits) {
  const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
  float value;
  if (exponent == 31) {
    value = mantissa == 0 ? INFINITY : NAN;
  } else if (exponent == 0) {
    value = std::ldexp(float(mantissa), -24);
  } else {
    value = std::ldexp(float(1024 + mantissa), exponent - 25);
  }
  return bits >> 15 != 0 ? -value : value;
}

static float element(DType dtype, const std::byte* data, int64_t index) {
  const std::byte* at = data + index * int64_t(dtype_bytes(dtype));
  if (dtype == DType::kF32) {
    float value;
    std::memcpy(&value, at, sizeof value);
    return value;
  }
  uint16_t bits;
  std::memcpy(&bits, at, sizeof bits);
  return dtype == DType::kBF16 ? bf16_to_f32(bits) : f16_to_f32(bits);
}

bool is_factor(DType dtype) { return dtype == DType::kF32 || dtype == DType::kBF16 || dtype == DType::kF16; }

FactorView FactorView::of(const HostTensor& tensor) {
  return {tensor.dtype, tensor.data, tensor.shape[1], 1, int(tensor.shape[0]), int(tensor.shape[1])};
}

FactorView FactorView::transposed() const { return {dtype, data, col_stride, row_stride, cols, rows}; }

FactorView FactorView::rows_of(int begin, int end) const {
  const std::byte* first = data + begin * row_stride * int64_t(dtype_bytes(dtype));
  return {dtype, first, row_stride, col_stride, end - begin, cols};
}

std::vector<float> FactorView::values() const {
  std::vector<float> out;
  out.reserve(size_t(rows) * size_t(cols));
  for (int r = 0; r < rows; ++r) {
    for (int c = 0; c < cols; ++c) out.push_back(element(dtype, data, r * row_stride + c * col_stride));
  }
  return out;
}

int64_t first_not_finite(const HostTensor& tensor) {
  for (int64_t i = 0; i < tensor.elements(); ++i) {
    if (!std::isfinite(element(tensor.dtype, tensor.data, i))) return i;
  }
  return -1;
}

}  // namespace oss
