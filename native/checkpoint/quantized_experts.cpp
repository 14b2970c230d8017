#include "native/checkpoint/quantized_experts.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>
#include <mutex>
#include <utility>

#include "kernels/common/mxfp4.h"
#include "native/base/error.h"
#include "native/base/json.h"
#include "native/base/mxfp4_quantize.h"
#include "native/base/str.h"
#include "native/base/tensor_source.h"
#include "native/checkpoint/float_values.h"
#include "native/checkpoint/read_units.h"

namespace oss {
namespace {

constexpr int64_t kTileRows = 64;  // 128 bytes of each input row: two cache lines

bool are_finite(const float* x /*[kMxBlock]*/) {
  uint32_t largest = 0;
  for (int i = 0; i < kMxBlock; ++i) largest = std::max(largest, std::bit_cast<uint32_t>(x[i]) & 0x7FFFFFFFu);
  return largest < 0x7F800000u;
}

// The computation behind both tensors. Blocks are read first, so their scales are kept until they are read: then
// nothing is computed twice. A scale of 0 is not known yet; it is computed again, with the same result.
class QuantizedExperts {
 public:
  QuantizedExperts(StoredTensor stored, ExpertOrder order, std::shared_ptr<Conversions> conversions)
      : stored_(std::move(stored)), conversions_(std::move(conversions)) {
    const std::vector<int64_t>& shape = stored_.data.shape;
    const bool by_inputs = order == ExpertOrder::kRowsOfInputs;
    rows_ = by_inputs ? shape[2] : shape[1];
    cols_ = by_inputs ? shape[1] : shape[2];
    row_stride_ = by_inputs ? 1 : cols_;
    col_stride_ = by_inputs ? rows_ : 1;
    row_blocks_ = cols_ / kMxBlock;
    num_blocks_ = uint64_t(shape[0] * rows_ * row_blocks_);
  }

  const StoredTensor& stored() const { return stored_; }
  int64_t rows() const { return rows_; }
  int64_t row_blocks() const { return row_blocks_; }
  uint8_t greatest() const { return greatest_.load(); }

  void blocks(uint64_t first, uint64_t count, std::byte* to, const std::string& name) {
    const std::shared_ptr<Notes> notes = notes_to_write();
    ConversionSum sum;
    for_each_block(first, count, [&](uint64_t index, const float* x, const uint8_t* codes, uint8_t scale) {
      std::memcpy(to + (index - first) * kMxBlockBytes, codes, kMxBlockBytes);
      (*notes)[index].store(scale, std::memory_order_relaxed);
      float rounded[kMxBlock];
      dequantize_mxfp4(codes, scale, rounded);
      for (int i = 0; i < kMxBlock; ++i) sum.add(x[i], double(rounded[i]) - x[i]);
    });
    conversions_->add(Conversions::kExperts, name, sum);
  }

  void scales(uint64_t first, uint64_t count, std::byte* to) {
    const std::shared_ptr<Notes> notes = notes_to_read();
    uint8_t greatest = 0;
    for (uint64_t i = first; i < first + count; ++i) {
      uint8_t scale = notes == nullptr ? 0 : (*notes)[i].load(std::memory_order_relaxed);
      if (scale == 0) for_each_block(i, 1, [&](uint64_t, const float*, const uint8_t*, uint8_t made) { scale = made; });
      to[i - first] = std::byte(scale);
      greatest = std::max(greatest, scale);
    }
    uint8_t known = greatest_.load();
    while (greatest > known && !greatest_.compare_exchange_weak(known, greatest)) {
    }
    forget(count);
  }

 private:
  using Notes = std::vector<std::atomic<uint8_t>>;

  std::shared_ptr<Notes> notes_to_write() {
    std::lock_guard lock(mutex_);
    if (notes_ == nullptr) notes_ = std::make_shared<Notes>(num_blocks_);
    return notes_;
  }
  std::shared_ptr<Notes> notes_to_read() {
    std::lock_guard lock(mutex_);
    return notes_;
  }
  // The notes go once as many scales were read as there are.
  void forget(uint64_t count) {
    std::lock_guard lock(mutex_);
    scales_read_ += count;
    if (scales_read_ < num_blocks_) return;
    scales_read_ = 0;
    notes_.reset();
  }

  template <typename Body>
  void for_each_block(uint64_t first, uint64_t count, const Body& body) const {
    std::vector<float> tile(size_t(kTileRows) * kMxBlock);
    for (uint64_t done = 0; done < count;) {
      const uint64_t at = first + done;
      const int64_t expert = int64_t(at) / row_blocks_ / rows_, row = int64_t(at) / row_blocks_ % rows_;
      const int64_t begin = int64_t(at) % row_blocks_;
      const int64_t left = int64_t(count - done);
      // Whole rows side by side, or a part of one row.
      const int64_t rows = begin > 0 || left < row_blocks_ ? 1 : std::min({kTileRows, rows_ - row, left / row_blocks_});
      const int64_t end = std::min(row_blocks_, begin + left);
      for (int64_t column = begin; column < end; ++column) {
        load_tile(expert, row, rows, column, tile.data());
        for (int64_t r = 0; r < rows; ++r) {
          const float* x = tile.data() + r * kMxBlock;
          if (!are_finite(x)) fail(expert, row + r, column);
          uint8_t codes[kMxBlockBytes];
          const uint8_t scale = quantize_mxfp4(x, codes);
          body(at + uint64_t(r * row_blocks_ + column - begin), x, codes, scale);
        }
      }
      done += uint64_t(rows * (end - begin));
    }
  }

  // Rows [row, row + rows) of one column of blocks. Reads the mapped file: with 64 values of a row at a time, calls would
  // take longer than the work.
  void load_tile(int64_t expert, int64_t row, int64_t rows, int64_t column, float* tile) const {
    const HostTensor& data = stored_.data;
    const int64_t base = (expert * rows_ * cols_) + row * row_stride_ + column * kMxBlock * col_stride_;
    if (col_stride_ == 1) {
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t c = 0; c < kMxBlock; ++c)
          tile[r * kMxBlock + c] = float_at(data.dtype, data.data, size_t(base + r * row_stride_ + c));
    } else {
      for (int64_t c = 0; c < kMxBlock; ++c)
        for (int64_t r = 0; r < rows; ++r)
          tile[r * kMxBlock + c] = float_at(data.dtype, data.data, size_t(base + c * col_stride_ + r));
    }
  }

  [[noreturn]] void fail(int64_t expert, int64_t row, int64_t column) const {
    throw Error(Code::kModelFormat,
                str(stored_.data.file, ": tensor ", quote(stored_.data.name), ": expert ", expert, ", output ", row,
                    ", inputs ", column * kMxBlock, " to ", (column + 1) * kMxBlock - 1,
                    ": expected finite weights, found infinity or NaN"));
  }

  const StoredTensor stored_;
  const std::shared_ptr<Conversions> conversions_;
  int64_t rows_, cols_, row_stride_, col_stride_, row_blocks_;
  uint64_t num_blocks_;
  std::atomic<uint8_t> greatest_ = 0;
  std::mutex mutex_;
  std::shared_ptr<Notes> notes_;
  uint64_t scales_read_ = 0;
};

class QuantizedBlocks final : public TensorSource {
 public:
  explicit QuantizedBlocks(std::shared_ptr<QuantizedExperts> experts) : experts_(std::move(experts)) {}
  void read(const HostTensor& tensor, uint64_t first, uint64_t bytes, void* to) const override {
    read_units(first, bytes, kMxBlockBytes, bytes, to, [&](uint64_t block, uint64_t count, std::byte* out) {
      experts_->blocks(block, count, out, tensor.name);
    });
  }
  std::vector<const MappedFile*> files() const override { return {experts_->stored().data.mapping}; }

 private:
  const std::shared_ptr<QuantizedExperts> experts_;
};

class QuantizedScales final : public TensorSource {
 public:
  explicit QuantizedScales(std::shared_ptr<QuantizedExperts> experts) : experts_(std::move(experts)) {}
  void read(const HostTensor&, uint64_t first, uint64_t bytes, void* to) const override {
    experts_->scales(first, bytes, static_cast<std::byte*>(to));
  }
  std::vector<const MappedFile*> files() const override { return {experts_->stored().data.mapping}; }
  uint8_t greatest_scale() const override { return experts_->greatest(); }

 private:
  const std::shared_ptr<QuantizedExperts> experts_;
};

}  // namespace

Mxfp4Tensors quantized_experts(const StoredTensor& stored, ExpertOrder order,
                               const std::shared_ptr<Conversions>& conversions) {
  const auto experts = std::make_shared<QuantizedExperts>(stored, order, conversions);
  HostTensor out = stored.data;
  out.stored = stored.data.stored_type();
  out.dtype = DType::kU8;
  out.shape = {stored.data.shape[0], experts->rows(), experts->row_blocks()};
  out.data = nullptr;
  out.mapping = nullptr;
  HostTensor blocks = out, scales = out;
  scales.bytes = size_t(scales.elements());
  scales.source = std::make_shared<QuantizedScales>(experts);
  blocks.shape.push_back(kMxBlockBytes);
  blocks.bytes = size_t(blocks.elements());
  blocks.source = std::make_shared<QuantizedBlocks>(experts);
  return {std::move(blocks), std::move(scales)};
}

}  // namespace oss
