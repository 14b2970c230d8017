#include "native/adapters/merge.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <utility>

#include "kernels/common/dtype.h"
#include "kernels/common/mxfp4.h"
#include "native/base/error.h"
#include "native/base/float_values.h"
#include "native/base/mapped_file.h"
#include "native/base/mxfp4_quantize.h"
#include "native/base/read_units.h"
#include "native/base/str.h"
#include "native/base/tensor_source.h"

namespace oss {
namespace {

// B A of one matrix, in float32. The scale is part of B.
class Change {
 public:
  explicit Change(const LowRankFactors& factors) : Change(factors, 0, uint64_t(factors.b.rows)) {}
  // Of rows [first, end) only.
  Change(const LowRankFactors& factors, uint64_t first, uint64_t end)
      : rank_(size_t(factors.rank())),
        cols_(size_t(factors.a.cols)),
        first_(first),
        a_(factors.a.values()),
        b_(factors.b.rows_of(int(first), int(end)).values()) {
    for (float& value : b_) value *= factors.scale;
  }

  // x[i] += element (row, first + i)
  void add(size_t row, size_t first, size_t count, float* x) const {
    sums_.assign(count, 0.0f);
    for (size_t k = 0; k < rank_; ++k) {
      const float b = b_[(row - first_) * rank_ + k];
      const float* a = a_.data() + k * cols_ + first;
      for (size_t i = 0; i < count; ++i) sums_[i] += b * a[i];
    }
    for (size_t i = 0; i < count; ++i) x[i] += sums_[i];
  }

 private:
  size_t rank_, cols_, first_;
  std::vector<float> a_, b_;
  mutable std::vector<float> sums_;  // a Change belongs to one call
};

// The files of a tensor, and the adapter's.
std::vector<const MappedFile*> files_of(std::initializer_list<const HostTensor*> bases, const Adapter& adapter) {
  std::vector<const MappedFile*> files = {adapter.file.mapping.get()};
  for (const HostTensor* base : bases) {
    if (base->mapping != nullptr) files.push_back(base->mapping);
    if (base->source == nullptr) continue;
    for (const MappedFile* file : base->source->files()) files.push_back(file);
  }
  return files;
}

// A BF16 matrix [rows, cols], or those of all experts [experts, rows, cols] with a change for each.
class MergedMatrices final : public TensorSource {
 public:
  MergedMatrices(HostTensor base, std::shared_ptr<const Adapter> adapter, const std::vector<LowRankFactors>& factors)
      : base_(std::move(base)),
        adapter_(std::move(adapter)),
        factors_(factors),
        rows_(uint64_t(base_.shape[base_.shape.size() - 2])),
        cols_(uint64_t(base_.shape.back())) {}

  void read(const HostTensor&, uint64_t first, uint64_t bytes, void* to) const override {
    read_units(first, bytes, sizeof(uint16_t), bytes, to, [&](uint64_t at, uint64_t count, std::byte* out) {
      base_.read(at * sizeof(uint16_t), count * sizeof(uint16_t), out);
      for (const uint64_t size = rows_ * cols_; count > 0;) {  // the elements of one matrix
        const uint64_t n = std::min(size - at % size, count);
        const LowRankFactors& factors = factors_[at / size];
        if (!factors.empty()) add(factors, at % size, n, out);
        at += n;
        count -= n;
        out += n * sizeof(uint16_t);
      }
    });
  }
  std::vector<const MappedFile*> files() const override { return files_of({&base_}, *adapter_); }

 private:
  // Adds to elements [at, at + count) of a matrix. `out` may be at any address.
  void add(const LowRankFactors& factors, uint64_t at, uint64_t count, std::byte* out) const {
    const Change change(factors, at / cols_, (at + count + cols_ - 1) / cols_);
    std::vector<float> values(size_t(std::min(cols_, count)));
    for (uint64_t done = 0; done < count;) {
      const uint64_t row = (at + done) / cols_, col = (at + done) % cols_, n = std::min(cols_ - col, count - done);
      for (uint64_t i = 0; i < n; ++i) values[i] = float_at(DType::kBF16, out, done + i);
      change.add(row, col, n, values.data());
      for (uint64_t i = 0; i < n; ++i) {
        const uint16_t merged = f32_to_bf16(values[i]);
        std::memcpy(out + (done + i) * sizeof merged, &merged, sizeof merged);
      }
      done += n;
    }
  }

  HostTensor base_;
  std::shared_ptr<const Adapter> adapter_;
  const std::vector<LowRankFactors>& factors_;  // of adapter_
  uint64_t rows_, cols_;
};

// MXFP4 experts of one matrix: blocks and scales come from the same values.
class MergedExperts {
 public:
  MergedExperts(HostTensor blocks, HostTensor scales, std::shared_ptr<const Adapter> adapter,
                const std::vector<LowRankFactors>& factors)
      : blocks_(std::move(blocks)),
        scales_(std::move(scales)),
        adapter_(std::move(adapter)),
        factors_(factors),
        rows_(uint64_t(blocks_.shape[1])),
        row_blocks_(uint64_t(blocks_.shape[2])) {}

  // Blocks [first, first + count) of all experts, and their scales; each may be null.
  void read(uint64_t first, uint64_t count, std::byte* blocks, std::byte* scales) const {
    std::vector<std::byte> own_blocks, own_scales;
    if (blocks == nullptr) own_blocks.resize(size_t(count * kMxBlockBytes)), blocks = own_blocks.data();
    if (scales == nullptr) own_scales.resize(size_t(count)), scales = own_scales.data();
    blocks_.read(size_t(first * kMxBlockBytes), size_t(count * kMxBlockBytes), blocks);
    scales_.read(size_t(first), size_t(count), scales);
    auto* codes = reinterpret_cast<uint8_t*>(blocks);
    auto* exponents = reinterpret_cast<uint8_t*>(scales);
    std::vector<float> values(size_t(row_blocks_ * kMxBlock));
    for_each_row(first, count, [&](const Change* change, uint64_t row, uint64_t block, uint64_t done, uint64_t n) {
      if (change == nullptr) return;
      for (uint64_t i = 0; i < n; ++i) {
        dequantize_mxfp4(codes + (done + i) * kMxBlockBytes, exponents[done + i], values.data() + i * kMxBlock);
      }
      change->add(row, block * kMxBlock, n * kMxBlock, values.data());
      quantize_mxfp4_blocks(int(n), values.data(), kMxBlock, 1, codes + done * kMxBlockBytes, exponents + done);
    });
  }

  struct Squares {
    double weights = 0, change = 0, error = 0;
  };
  // Adds the squares of a sample of rows of each expert.
  void measure(Squares& squares) const {
    for (size_t expert = 0; expert < factors_.size(); ++expert) {
      if (factors_[expert].empty()) continue;
      const Change change(factors_[expert]);
      constexpr uint64_t kRows = 4;
      for (uint64_t i = 0; i < kRows; ++i) measure_row(expert, rows_ * (2 * i + 1) / (2 * kRows), change, squares);
    }
  }

  std::vector<const MappedFile*> files() const { return files_of({&blocks_, &scales_}, *adapter_); }

 private:
  void measure_row(size_t expert, uint64_t row, const Change& change, Squares& squares) const {
    const uint64_t first = (expert * rows_ + row) * row_blocks_;
    std::vector<uint8_t> blocks(size_t(row_blocks_ * kMxBlockBytes)), scales(size_t(row_blocks_ * 1));
    blocks_.read(size_t(first * kMxBlockBytes), blocks.size(), blocks.data());
    scales_.read(size_t(first), scales.size(), scales.data());
    float base[kMxBlock], exact[kMxBlock], merged[kMxBlock];
    const auto square = [](double x) { return x * x; };
    for (size_t block = 0; block < scales.size(); ++block) {
      uint8_t* codes = blocks.data() + block * kMxBlockBytes;
      dequantize_mxfp4(codes, scales[block], base);
      std::copy_n(base, kMxBlock, exact);
      change.add(size_t(row), block * kMxBlock, kMxBlock, exact);
      dequantize_mxfp4(codes, quantize_mxfp4(exact, codes), merged);
      for (int i = 0; i < kMxBlock; ++i) {
        squares.weights += square(exact[i]);
        squares.change += square(double(exact[i]) - base[i]);
        squares.error += square(double(merged[i]) - exact[i]);
      }
    }
  }

  // Calls body(change, row of the expert, first block, blocks done, number of blocks) for each row that blocks
  // [first, first + count) touch. The change is null where the adapter leaves the expert alone.
  template <typename Body>
  void for_each_row(uint64_t first, uint64_t count, const Body& body) const {
    std::unique_ptr<const Change> change;
    uint64_t known = uint64_t(-1);  // the expert of `change`
    for (uint64_t done = 0; done < count;) {
      const uint64_t row = (first + done) / row_blocks_, block = (first + done) % row_blocks_;
      const uint64_t n = std::min(row_blocks_ - block, count - done), expert = row / rows_;
      if (std::exchange(known, expert) != expert) {
        change.reset();
        if (!factors_[expert].empty()) change = std::make_unique<const Change>(factors_[expert]);
      }
      body(change.get(), row % rows_, block, done, n);
      done += n;
    }
  }

  HostTensor blocks_, scales_;
  std::shared_ptr<const Adapter> adapter_;
  const std::vector<LowRankFactors>& factors_;  // of adapter_
  uint64_t rows_, row_blocks_;
};

class MergedBlocks final : public TensorSource {
 public:
  explicit MergedBlocks(std::shared_ptr<const MergedExperts> experts) : experts_(std::move(experts)) {}
  void read(const HostTensor&, uint64_t first, uint64_t bytes, void* to) const override {
    read_units(first, bytes, kMxBlockBytes, bytes, to,
               [&](uint64_t at, uint64_t count, std::byte* out) { experts_->read(at, count, out, nullptr); });
  }
  std::vector<const MappedFile*> files() const override { return experts_->files(); }

 private:
  std::shared_ptr<const MergedExperts> experts_;
};

class MergedScales final : public TensorSource {
 public:
  explicit MergedScales(std::shared_ptr<const MergedExperts> experts) : experts_(std::move(experts)) {}
  void read(const HostTensor&, uint64_t first, uint64_t bytes, void* to) const override {
    auto* scales = static_cast<std::byte*>(to);
    experts_->read(first, bytes, nullptr, scales);
    uint8_t greatest = 0;
    for (uint64_t i = 0; i < bytes; ++i) greatest = std::max(greatest, uint8_t(scales[i]));
    uint8_t known = greatest_.load();
    while (known < greatest && !greatest_.compare_exchange_weak(known, greatest)) {
    }
  }
  uint8_t greatest_scale() const override { return greatest_.load(); }
  std::vector<const MappedFile*> files() const override { return experts_->files(); }

 private:
  std::shared_ptr<const MergedExperts> experts_;
  mutable std::atomic<uint8_t> greatest_ = 0;
};

HostTensor made(const HostTensor& base, std::shared_ptr<const TensorSource> source) {
  HostTensor tensor = base;
  tensor.data = nullptr;
  tensor.mapping = nullptr;
  tensor.synthetic.reset();
  tensor.source = std::move(source);
  return tensor;
}

}  // namespace

MergeError merge_adapter(std::shared_ptr<const Adapter> adapter, Tensors& tensors,
                         const std::function<bool()>& cancelled, MeasureMerge measure) {
  MergedExperts::Squares squares;
  for (const auto& [weight, factors] : adapter->targets) {
    if (cancelled && cancelled()) throw Error(Code::kCancelled, str("merging ", adapter->path, " was cancelled"));
    if (const auto bf16 = tensors.find(weight); bf16 != tensors.end()) {
      bf16->second = made(bf16->second, std::make_shared<MergedMatrices>(bf16->second, adapter, factors));
      continue;
    }
    const auto blocks = tensors.find(weight + "_blocks"), scales = tensors.find(weight + "_scales");
    if (blocks == tensors.end() || scales == tensors.end())
      throw Error(Code::kUnsupported, str(adapter->path, ": expected experts in ", weight,
                                          " to merge with, found none; choose the adapter per request instead"));
    const auto experts = std::make_shared<MergedExperts>(blocks->second, scales->second, adapter, factors);
    if (measure == MeasureMerge::kSample) experts->measure(squares);
    blocks->second = made(blocks->second, std::make_shared<MergedBlocks>(experts));
    scales->second = made(scales->second, std::make_shared<MergedScales>(experts));
    scales->second.greatest_scale = 0;  // its source knows it, once it is read
  }
  const auto ratio = [&](double of) { return of > 0 ? std::sqrt(squares.error / of) : 0; };
  return {ratio(squares.weights), ratio(squares.change)};
}

}  // namespace oss
