#include "native/adapters/factor_view.h"

#include <cmath>

#include "native/base/float_values.h"

namespace oss {

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
  const int64_t element = int64_t(dtype_bytes(dtype));
  for (int r = 0; r < rows; ++r) {
    const std::byte* row = data + r * row_stride * element;
    for (int c = 0; c < cols; ++c) out.push_back(float_at(dtype, row + c * col_stride * element, 0));
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
