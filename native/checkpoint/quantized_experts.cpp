#include "native/checkpoint/quantized_experts.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <mutex>
#include <utility>

#include "kernels/common/mxfp4.h"
#include "native/base/error.h"
#include "native/base/float_values.h"
#include "native/base/json.h"
#include "native/base/mxfp4_quantize.h"
#include "native/base/read_units.h"
#include "native/base/str.h"
#include "native/base/tensor_source.h"

namespace oss {
namespace {

// 256 bytes of each input row are four cache lines. 16 KB of floats are half of a first-level cache.
constexpr int64_t kTileBlocks = 128;

// Blocks that are quantised together, as float32: value i of block b is x[b * block_stride + i * value_stride].
struct Tile {
  int blocks, block_stride, value_stride;
  uint64_t first, step;  // block b of the tile is block first + b * step of the tensor
  float x[kTileBlocks * kMxBlock];
  uint8_t codes[kTileBlocks * kMxBlockBytes];
  uint8_t scales[kTileBlocks];
  cpu::Mxfp4Loss loss[kTileBlocks];

  bool is_finite(int b) const {
    for (int i = 0; i < kMxBlock; ++i)
      if (!std::isfinite(x[b * block_stride + i * value_stride])) return false;
    return true;
  }
};

void add_loss(ConversionSum& sum, const cpu::Mxfp4Loss& loss, uint8_t scale) {
  const double unit = 2 * double(e8m0_half(scale));
  sum.values += kMxBlock;
  sum.changed += uint64_t(loss.changed);
  sum.squares += unit * unit * loss.squares;
  sum.error_squares += unit * unit * loss.error_squares;
  sum.largest_error = std::max(sum.largest_error, double(loss.largest_error));
}

// The computation behind both tensors. Blocks are read first, so their scales are kept until they are read: then
// nothing is computed twice. A scale of 0 is not known yet; it is computed again, with the same result.
class QuantizedExperts {
 public:
  QuantizedExperts(StoredTensor stored, ExpertOrder order, std::shared_ptr<Conversions> conversions)
      : stored_(std::move(stored)), conversions_(std::move(conversions)) {
    const std::vector<int64_t>& shape = stored_.data.shape;
    by_inputs_ = order == ExpertOrder::kRowsOfInputs;
    rows_ = by_inputs_ ? shape[2] : shape[1];
    cols_ = by_inputs_ ? shape[1] : shape[2];
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
    for_each_tile(first, count, [&](const Tile& tile) {
      for (int b = 0; b < tile.blocks; ++b) {
        const uint64_t block = tile.first + uint64_t(b) * tile.step;
        std::memcpy(to + (block - first) * kMxBlockBytes, tile.codes + b * kMxBlockBytes, kMxBlockBytes);
        (*notes)[block].store(tile.scales[b], std::memory_order_relaxed);
        add_loss(sum, tile.loss[b], tile.scales[b]);
      }
    });
    conversions_->add(Conversions::kExperts, name, sum);
  }

  void scales(uint64_t first, uint64_t count, std::byte* to) {
    const std::shared_ptr<Notes> notes = notes_to_read();
    uint8_t greatest = 0;
    for (uint64_t i = first; i < first + count; ++i) {
      uint8_t scale = notes == nullptr ? 0 : (*notes)[i].load(std::memory_order_relaxed);
      if (scale == 0) for_each_tile(i, 1, [&](const Tile& tile) { scale = tile.scales[0]; });
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
  void for_each_tile(uint64_t first, uint64_t count, const Body& body) const {
    const auto tile = std::make_unique<Tile>();
    for (uint64_t done = 0; done < count;) {
      done += by_inputs_ ? tiles_across(first + done, int64_t(count - done), *tile, body)
                         : tile_along(first + done, int64_t(count - done), *tile, body);
    }
  }

  // The file has the order of the blocks: any of them that follow each other.
  template <typename Body>
  uint64_t tile_along(uint64_t first, int64_t left, Tile& tile, const Body& body) const {
    tile.blocks = int(std::min(kTileBlocks, left));
    tile.block_stride = kMxBlock;
    tile.value_stride = 1;
    tile.first = first;
    tile.step = 1;
    load(first * kMxBlock, size_t(tile.blocks) * kMxBlock, tile.x);
    finish(tile, body);
    return uint64_t(tile.blocks);
  }

  // The file has the inputs first: whole rows side by side, or a part of one row; one column of blocks at a time.
  template <typename Body>
  uint64_t tiles_across(uint64_t first, int64_t left, Tile& tile, const Body& body) const {
    const int64_t row = int64_t(first) / row_blocks_, begin = int64_t(first) % row_blocks_;
    const int64_t expert = row / rows_, at = row % rows_;
    const int64_t rows = begin > 0 || left < row_blocks_ ? 1 : std::min({kTileBlocks, rows_ - at, left / row_blocks_});
    const int64_t end = std::min(row_blocks_, begin + left);
    tile.blocks = int(rows);
    tile.block_stride = 1;
    tile.value_stride = int(rows);
    tile.step = uint64_t(row_blocks_);
    for (int64_t column = begin; column < end; ++column) {
      tile.first = first + uint64_t(column - begin);
      for (int64_t i = 0; i < kMxBlock; ++i) {
        load(uint64_t((expert * cols_ + column * kMxBlock + i) * rows_ + at), size_t(rows), tile.x + i * rows);
      }
      finish(tile, body);
    }
    return uint64_t(rows * (end - begin));
  }

  template <typename Body>
  void finish(Tile& tile, const Body& body) const {
    if (!quantize_mxfp4_blocks(tile.blocks, tile.x, tile.block_stride, tile.value_stride, tile.codes, tile.scales,
                               tile.loss)) {
      int bad = 0;
      while (tile.is_finite(bad)) ++bad;
      fail(int64_t(tile.first + uint64_t(bad) * tile.step));
    }
    body(tile);
  }

  // Reads the mapped file: with 128 values of a row at a time, calls would take longer than the work.
  void load(uint64_t first, size_t count, float* to) const {
    floats_at(stored_.data.dtype, stored_.data.data, size_t(first), count, to);
  }

  [[noreturn]] void fail(int64_t block) const {
    const int64_t column = block % row_blocks_, row = block / row_blocks_ % rows_, expert = block / row_blocks_ / rows_;
    throw Error(Code::kModelFormat,
                str(stored_.data.file, ": tensor ", quote(stored_.data.name), ": expert ", expert, ", output ", row,
                    ", inputs ", column * kMxBlock, " to ", (column + 1) * kMxBlock - 1,
                    ": expected finite weights, found infinity or NaN"));
  }

  const StoredTensor stored_;
  const std::shared_ptr<Conversions> conversions_;
  bool by_inputs_;
  int64_t rows_, cols_, row_blocks_;
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
  return made_mxfp4(stored, {stored.data.shape[0], experts->rows(), experts->row_blocks()},
                    std::make_shared<QuantizedBlocks>(experts), std::make_shared<QuantizedScales>(experts));
}

}  // namespace oss
