#include "native/checkpoint/bf16_experts.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "kernels/common/dtype.h"
#include "native/base/error.h"
#include "native/base/float_values.h"
#include "native/base/json.h"
#include "native/base/read_units.h"
#include "native/base/str.h"
#include "native/base/tensor_source.h"

namespace oss {
namespace {

// 128 values of an input row are four cache lines of bf16. A tile and its transposition are 16 KB, half of a first-level
// cache.
constexpr int64_t kTileRows = 128, kTileCols = 32;

class Bf16Experts final : public TensorSource {
 public:
  Bf16Experts(StoredTensor stored, ExpertOrder order, std::shared_ptr<Conversions> conversions)
      : stored_(std::move(stored)),
        by_inputs_(order == ExpertOrder::kRowsOfInputs),
        conversions_(std::move(conversions)) {
    const std::vector<int64_t>& shape = stored_.data.shape;
    rows_ = by_inputs_ ? shape[2] : shape[1];
    cols_ = by_inputs_ ? shape[1] : shape[2];
  }

  std::vector<int64_t> shape() const { return {stored_.data.shape[0], rows_, cols_}; }

  void read(const HostTensor& tensor, uint64_t first, uint64_t bytes, void* to) const override {
    ConversionSum sum;
    const uint64_t row_bytes = uint64_t(cols_) * sizeof(uint16_t);
    read_units(first, bytes, row_bytes, kTileRows, to, [&](uint64_t row, uint64_t count, std::byte* out) {
      while (count > 0) {  // the rows of one expert
        const int64_t at = int64_t(row) % rows_, n = std::min(int64_t(count), rows_ - at);
        copy_rows(int64_t(row) / rows_, at, n, out, sum);
        row += uint64_t(n);
        count -= uint64_t(n);
        out += uint64_t(n) * row_bytes;
      }
    });
    if (sum.values > 0) conversions_->add(Conversions::kExperts, tensor.name, sum);
  }

  std::vector<const MappedFile*> files() const override { return {stored_.data.mapping}; }

 private:
  // Rows [at, at + n) of an expert, n <= kTileRows. `out` may be at any address.
  void copy_rows(int64_t expert, int64_t at, int64_t n, std::byte* out, ConversionSum& sum) const {
    uint16_t tile[kTileRows * kTileCols], turned[kTileRows * kTileCols];
    for (int64_t col = 0; col < cols_; col += kTileCols) {
      const int64_t width = std::min(kTileCols, cols_ - col);
      if (by_inputs_) {
        for (int64_t c = 0; c < width; ++c) load((expert * cols_ + col + c) * rows_ + at, n, turned + c * n, sum);
        for (int64_t r = 0; r < n; ++r)
          for (int64_t c = 0; c < width; ++c) tile[r * width + c] = turned[c * n + r];
      } else {
        for (int64_t r = 0; r < n; ++r) load((expert * rows_ + at + r) * cols_ + col, width, tile + r * width, sum);
      }
      expect_finite(tile, expert, at, n, col, width);
      for (int64_t r = 0; r < n; ++r)
        std::memcpy(out + size_t(r * cols_ + col) * sizeof *tile, tile + r * width, size_t(width) * sizeof *tile);
    }
  }

  // Reads the mapped file: with 128 values of a row at a time, calls would take longer than the work.
  void load(int64_t first, int64_t count, uint16_t* to, ConversionSum& sum) const {
    const HostTensor& data = stored_.data;
    if (data.dtype == DType::kBF16) {
      std::memcpy(to, data.data + size_t(first) * sizeof *to, size_t(count) * sizeof *to);
      return;
    }
    float values[kTileRows];
    floats_at(data.dtype, data.data, size_t(first), size_t(count), values);
    for (int64_t i = 0; i < count; ++i) {
      to[i] = f32_to_bf16(values[i]);
      sum.add(values[i], double(bf16_to_f32(to[i])) - double(values[i]));
    }
  }

  void expect_finite(const uint16_t* tile, int64_t expert, int64_t at, int64_t n, int64_t col, int64_t width) const {
    const auto is_finite = [](uint16_t bits) { return (bits & 0x7F80u) != 0x7F80u; };
    bool all = true;
    for (int64_t i = 0; i < n * width; ++i) all &= is_finite(tile[i]);
    if (all) return;
    const int64_t bad = std::find_if_not(tile, tile + n * width, is_finite) - tile;
    throw Error(Code::kModelFormat, str(stored_.data.file, ": tensor ", quote(stored_.data.name), ": expert ", expert,
                                        ", output ", at + bad / width, ", input ", col + bad % width,
                                        ": expected a weight that is finite in bf16, found infinity or NaN"));
  }

  const StoredTensor stored_;
  const bool by_inputs_;
  const std::shared_ptr<Conversions> conversions_;
  int64_t rows_, cols_;
};

}  // namespace

HostTensor bf16_experts(const StoredTensor& stored, ExpertOrder order,
                        const std::shared_ptr<Conversions>& conversions) {
  if (order == ExpertOrder::kRowsOfOutputs && stored.data.dtype == DType::kBF16) return stored.data;
  const auto experts = std::make_shared<Bf16Experts>(stored, order, conversions);
  return made_tensor(stored, DType::kBF16, experts->shape(), experts);
}

}  // namespace oss
