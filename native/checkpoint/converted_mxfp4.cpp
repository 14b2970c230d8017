// MXFP4 experts: 17-byte blocks as blocks and scales, and gate and up as the rows of one matrix.
#include <algorithm>
#include <atomic>
#include <utility>

#include "kernels/common/mxfp4.h"
#include "native/base/error.h"
#include "native/base/json.h"
#include "native/base/read_units.h"
#include "native/base/str.h"
#include "native/base/tensor_source.h"
#include "native/checkpoint/converted_tensors.h"
#include "native/loader/scales.h"

namespace oss {
namespace {

constexpr uint64_t kStoredBytes = kMxBlockBytes + 1;
constexpr uint64_t kChunk = 4096;           // blocks that are read at a time: 68 KB
constexpr uint64_t kRowsChunk = 128 << 10;  // bytes of rows that are read at a time

// Half blocks, as GGML stores them → adjacent pairs: low nibble of byte j and of byte j + 1, then their high nibbles.
void pairs_of_halves(const std::byte* from, std::byte* to) {
  for (int j = 0; j < kMxBlockBytes / 2; ++j) {
    const auto even = uint8_t(from[2 * j]), odd = uint8_t(from[2 * j + 1]);
    to[j] = std::byte(uint8_t((even & 15u) | (odd << 4)));
    to[j + kMxBlockBytes / 2] = std::byte(uint8_t((even >> 4) | (odd & 0xF0u)));
  }
}

class Mxfp4Blocks final : public TensorSource {
 public:
  explicit Mxfp4Blocks(StoredTensor stored) : stored_(std::move(stored)) {}

  void read(const HostTensor&, uint64_t first, uint64_t bytes, void* to) const override {
    std::vector<std::byte> raw(kChunk * kStoredBytes);
    read_units(first, bytes, kMxBlockBytes, kChunk, to, [&](uint64_t block, uint64_t count, std::byte* out) {
      stored_.data.read(block * kStoredBytes, count * kStoredBytes, raw.data());
      for (uint64_t b = 0; b < count; ++b, out += kMxBlockBytes) {
        const std::byte* codes = raw.data() + b * kStoredBytes + 1;
        if (stored_.packing == Packing::kMxfp4Halves) {
          pairs_of_halves(codes, out);
        } else {
          std::copy_n(codes, kMxBlockBytes, out);
        }
      }
    });
  }
  std::vector<const MappedFile*> files() const override { return {stored_.data.mapping}; }

 private:
  const StoredTensor stored_;
};

class Mxfp4Scales final : public TensorSource {
 public:
  explicit Mxfp4Scales(StoredTensor stored) : stored_(std::move(stored)) {}

  void read(const HostTensor&, uint64_t first, uint64_t bytes, void* to) const override {
    std::vector<std::byte> raw(kChunk * kStoredBytes);
    uint8_t greatest = 0;
    read_units(first, bytes, 1, kChunk, to, [&](uint64_t block, uint64_t count, std::byte* out) {
      stored_.data.read(block * kStoredBytes, count * kStoredBytes, raw.data());
      for (uint64_t b = 0; b < count; ++b) {
        const auto scale = uint8_t(raw[b * kStoredBytes]);
        if (scale < kLeastScale || scale > kGreatestScale) fail(block + b, scale);
        greatest = std::max(greatest, scale);
        out[b] = std::byte(scale);
      }
    });
    uint8_t known = greatest_.load();
    while (greatest > known && !greatest_.compare_exchange_weak(known, greatest)) {
    }
  }
  std::vector<const MappedFile*> files() const override { return {stored_.data.mapping}; }
  uint8_t greatest_scale() const override { return greatest_.load(); }

 private:
  [[noreturn]] void fail(uint64_t block, uint8_t scale) const {
    const uint64_t rows = uint64_t(stored_.data.shape[1]), blocks = uint64_t(stored_.data.shape[2] / kMxBlock);
    throw_bad_scale(stored_.data, block / blocks / rows, block / blocks % rows, block % blocks, scale);
  }

  const StoredTensor stored_;
  mutable std::atomic<uint8_t> greatest_ = 0;
};

class InterleavedRows final : public TensorSource {
 public:
  InterleavedRows(std::vector<HostTensor> parts, uint64_t row_bytes)
      : parts_(std::move(parts)), row_bytes_(row_bytes) {}

  void read(const HostTensor&, uint64_t first, uint64_t bytes, void* to) const override {
    const uint64_t most = std::max<uint64_t>(1, kRowsChunk / row_bytes_);
    std::vector<std::byte> rows(most * row_bytes_);
    read_units(first, bytes, row_bytes_ * parts_.size(), most, to, [&](uint64_t row, uint64_t count, std::byte* out) {
      for (size_t part = 0; part < parts_.size(); ++part) {
        parts_[part].read(row * row_bytes_, count * row_bytes_, rows.data());
        for (uint64_t i = 0; i < count; ++i)
          std::copy_n(rows.data() + i * row_bytes_, row_bytes_, out + (i * parts_.size() + part) * row_bytes_);
      }
    });
  }
  std::vector<const MappedFile*> files() const override {
    std::vector<const MappedFile*> files;
    for (const HostTensor& part : parts_) {
      if (part.mapping != nullptr) files.push_back(part.mapping);
      if (part.source == nullptr) continue;
      for (const MappedFile* file : part.source->files()) files.push_back(file);
    }
    return files;
  }
  uint8_t greatest_scale() const override {
    uint8_t greatest = 0;
    for (const HostTensor& part : parts_) {
      greatest = std::max(greatest, part.source != nullptr ? part.source->greatest_scale() : part.greatest_scale);
    }
    return greatest;
  }

 private:
  const std::vector<HostTensor> parts_;
  const uint64_t row_bytes_;
};

}  // namespace

HostTensor interleaved_rows(std::vector<HostTensor> parts, size_t row_dimensions) {
  for (const HostTensor& part : parts) {
    if (part.dtype == parts[0].dtype) continue;
    throw Error(Code::kUnsupported, str(part.file, ": tensor ", quote(part.name), ": expected ", parts[0].stored_type(),
                                        " as ", quote(parts[0].name), ", found ", part.stored_type()));
  }
  HostTensor out = parts.front();
  out.stored = out.stored_type();
  for (size_t i = 1; i < parts.size(); ++i) out.name += " + " + parts[i].name;
  const size_t grows = out.shape.size() - row_dimensions - 1;
  uint64_t row_bytes = dtype_bytes(out.dtype);
  for (size_t i = grows + 1; i < out.shape.size(); ++i) row_bytes *= uint64_t(out.shape[i]);
  out.shape[grows] *= int64_t(parts.size());
  out.bytes *= parts.size();
  out.data = nullptr;
  out.mapping = nullptr;
  out.source = std::make_shared<InterleavedRows>(std::move(parts), row_bytes);
  return out;
}

Mxfp4Tensors converted_mxfp4(const StoredTensor& stored) {
  std::vector<int64_t> scales_shape = stored.data.shape;
  scales_shape.back() /= kMxBlock;
  return made_mxfp4(stored, std::move(scales_shape), std::make_shared<Mxfp4Blocks>(stored),
                    std::make_shared<Mxfp4Scales>(stored));
}

}  // namespace oss
