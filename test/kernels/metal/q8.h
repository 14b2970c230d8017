// Weights in Q8 (kernels/common/q8.h) on a Metal device.
#pragma once
#include <algorithm>
#include <random>
#include <vector>

#include "kernels/common/q8.h"
#include "test/kernels/metal/support.h"

namespace oss::test {

// Codes and scales of [rows, cols].
struct Q8Values {
  int rows, cols;
  std::vector<int8_t> codes;
  std::vector<uint16_t> scales;

  // Scales of all sizes: subnormal ones, and no scale where all codes are zero.
  Q8Values(int of_rows, int of_cols, uint32_t seed) : rows(of_rows), cols(of_cols) {
    std::mt19937 engine(seed);
    for (size_t i = 0; i < size_t(rows) * cols; ++i) codes.push_back(int8_t(int(engine() % 255) - 127));
    for (size_t i = 0; i < codes.size() / kQ8Block; ++i) {
      const uint32_t kind = engine() % 8, fraction = engine() % 1024;
      scales.push_back(uint16_t(kind == 0 ? fraction : (kind + 1) << 10 | fraction));  // up to 2^-6
    }
  }
  // Code times scale, which has no more than 18 bits.
  std::vector<float> values() const {
    std::vector<float> out;
    for (size_t i = 0; i < codes.size(); ++i) out.push_back(float(codes[i]) * q8_scale_to_f32(scales[i / kQ8Block]));
    return out;
  }
};

// Codes and scales aligned to no more than kernels need, and between values that spoil any sum.
class Q8Array {
 public:
  static constexpr size_t kShift = 8;  // bytes

  Q8Array(MetalDevice& device, const Q8Values& from)
      : codes_(device, framed(from.codes, kShift, int8_t(127))),
        scales_(device, framed(from.scales, 1, uint16_t(0x7C00))) {}
  metal::Rows rows() const { return {codes_.data() + kShift, scales_.data() + 1}; }

 private:
  template <typename T>
  static std::vector<T> framed(const std::vector<T>& values, size_t before, T with) {
    std::vector<T> out(values.size() + 2 * before, with);
    std::ranges::copy(values, out.begin() + ptrdiff_t(before));
    return out;
  }
  const MetalArray<int8_t> codes_;
  const MetalArray<uint16_t> scales_;
};

}  // namespace oss::test
