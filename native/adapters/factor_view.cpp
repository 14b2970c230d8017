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

bool is_factor(DType dtype) { return dtype == DType::kF32 || dtype == DType::kBF16 || dtype == DType::kF16; }

FactorView FactorView::of(const HostTensor& tensor) {
  return {tensor.dtype, tensor.data, tensor.shape[1], 1, int(tensor.shape[0]), int(tensor.shape[1])};
}

FactorView FactorView::transposed() const { return {dtype, data, col_stride, row_stride, cols, rows}; }

FactorView FactorView::rows_of(int begin, int end) const {
  const std::byte* first = data + begin * row_stride * int64_t(dtype_bytes(dtype));
  return {dtype, first, row_stride, col_stride, end - begin, cols};
}

template <typename Stored, typename Widen>
static void widen_all(const FactorView& view, const Widen& widen, float* to) {
  for (int r = 0; r < view.rows; ++r) {
    const std::byte* row = view.data + r * view.row_stride * int64_t(sizeof(Stored));
    for (int c = 0; c < view.cols; ++c) {
      Stored stored;
      std::memcpy(&stored, row + c * view.col_stride * int64_t(sizeof(Stored)), sizeof stored);
      *to++ = widen(stored);
    }
  }
}

std::vector<float> FactorView::values() const {
  std::vector<float> out(size_t(rows) * size_t(cols));
  if (dtype == DType::kF32) {
    widen_all<float>(*this, [](float x) { return x; }, out.data());
  } else if (dtype == DType::kBF16) {
    widen_all<uint16_t>(*this, bf16_to_f32, out.data());
  } else {
    widen_all<uint16_t>(*this, f16_to_f32, out.data());
  }
  return out;
}

int64_t first_not_finite(const HostTensor& tensor) {
  const FactorView all = FactorView::of(tensor);
  for (int r = 0; r < all.rows; ++r) {
    const std::vector<float> row = all.rows_of(r, r + 1).values();
    for (size_t c = 0; c < row.size(); ++c) {
      if (!std::isfinite(row[c])) return r * int64_t(all.cols) + int64_t(c);
    }
  }
  return -1;
}

}  // namespace oss
