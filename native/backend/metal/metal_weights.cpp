#include "native/backend/metal/metal_weights.h"

#include <algorithm>
#include <atomic>
#include <thread>

#include "kernels/common/dtype.h"
#include "kernels/common/mxfp4.h"
#include "kernels/common/q8.h"
#include "kernels/cpu/dispatch.h"
#include "native/backend/metal/metal_memory.h"
#include "native/base/error.h"
#include "native/base/str.h"
#include "native/base/tensor_source.h"

namespace oss {
namespace {

// Threads that make the weights of no file: reading is bound by memory, so a few suffice.
int loading_threads() { return int(std::clamp(std::thread::hardware_concurrency(), 1u, 8u)); }

void expect(const HostTensor& tensor, bool accepted, const char* expected) {
  if (accepted) return;
  throw Error(Code::kUnsupported, str(tensor.file, ": the Metal backend needs ", expected, " for ", tensor.name,
                                      " but it is ", dtype_name(tensor.dtype)));
}

// Kernels load matrices by 8 bytes, scales by one.
constexpr size_t kMatrixAlignment = 8;

}  // namespace

MetalWeights::MetalWeights(std::shared_ptr<metal::Device> device, const MetalSizes& sizes)
    : device_(std::move(device)), sizes_(sizes), pool_(loading_threads()) {}

MetalWeights::~MetalWeights() {
  for (const std::byte* begin : wrapped_) device_->release(begin);
}

// Copies that do not fit into one buffer get one each: take() then finds nothing reserved.
void MetalWeights::reserve_weights(uint64_t bytes) {
  if (bytes <= device_->limits().buffer_bytes) reserved_ = allocate_metal(device_, bytes, "copied weights");
}

void MetalWeights::remember_files(const HostTensor& tensor) {
  if (tensor.mapping != nullptr) files_.insert(tensor.mapping);
  if (tensor.source == nullptr) return;
  for (const MappedFile* file : tensor.source->files()) {
    if (file != nullptr) files_.insert(file);
  }
}

std::byte* MetalWeights::take(size_t bytes) {
  copied_bytes_ += padded(bytes);
  last_reserved_ = reserved_used_ + padded(bytes) <= reserved_.bytes();
  if (last_reserved_) {
    std::byte* at = reserved_.as<std::byte>() + reserved_used_;
    reserved_used_ += padded(bytes);
    return at;
  }
  others_.push_back(allocate_metal(device_, bytes, "a copied weight"));
  return others_.back().as<std::byte>();
}

void MetalWeights::give_back(size_t bytes) {
  copied_bytes_ -= padded(bytes);
  if (last_reserved_) {
    reserved_used_ -= padded(bytes);
  } else {
    others_.pop_back();
  }
}

const std::byte* MetalWeights::place(const HostTensor& tensor, size_t alignment) {
  remember_files(tensor);
  if (tensor.mapping != nullptr && reinterpret_cast<uintptr_t>(tensor.data) % alignment == 0) {
    in_files_.push_back({tensor.data, tensor.data + tensor.bytes});
    return tensor.data;
  }
  std::byte* to = take(tensor.bytes);
  pool_.parallel_for(int64_t(tensor.bytes), 1 << 20, [&](int64_t begin, int64_t end, int) {
    tensor.read(size_t(begin), size_t(end - begin), to + begin);
  });
  return to;
}

// Reads pieces of whole rows, so that no page of the file is mapped for it.
bool MetalWeights::quantize(const HostTensor& weight, int8_t* codes, uint16_t* scales) {
  const cpu::Kernels& kernels = *cpu::available_kernels().front();  // all make the same codes
  const int64_t rows = weight.shape[0], cols = weight.shape[1], row_blocks = cols / kQ8Block;
  const size_t row_bytes = size_t(cols) * sizeof(uint16_t);
  const int64_t piece = std::max<int64_t>(1, int64_t((1 << 20) / row_bytes));
  std::atomic<bool> all = true;
  pool_.parallel_for(rows, piece, [&](int64_t begin, int64_t end, int) {
    std::vector<uint16_t> values(holds_q8(weight) ? 0 : size_t(std::min(piece, end - begin) * cols));
    for (int64_t row = begin; row < end; row += piece) {
      const int64_t count = std::min(piece, end - row), first = row * row_blocks, blocks = count * row_blocks;
      int8_t* to_codes = codes + row * cols;
      if (holds_q8(weight)) {
        if (!weight.source->read_q8(weight, uint64_t(first), uint64_t(blocks), to_codes, scales + first)) all = false;
      } else {
        weight.read(size_t(row) * row_bytes, size_t(count) * row_bytes, values.data());
        if (!kernels.quantize_q8(size_t(blocks), values.data(), to_codes, scales + first)) all = false;
      }
    }
  });
  return all;
}

Matrix MetalWeights::pack_matrix(const HostTensor& weight, MatrixUse use) {
  expect(weight, weight.dtype == DType::kBF16 && weight.shape.size() == 2, "a BF16 matrix");
  const int rows = int(weight.shape[0]), cols = int(weight.shape[1]);
  if (sizes_.becomes_q8(cols, use, holds_q8(weight))) {
    remember_files(weight);
    const size_t bytes = sizes_.q8_bytes(rows, cols);
    auto* codes = reinterpret_cast<int8_t*>(take(bytes));
    auto* scales = reinterpret_cast<uint16_t*>(codes + size_t(rows) * size_t(cols));
    if (quantize(weight, codes, scales)) return {.rows = rows, .cols = cols, .q8_codes = codes, .q8_scales = scales};
    give_back(bytes);
  }
  return {reinterpret_cast<const uint16_t*>(place(weight, kMatrixAlignment)), rows, cols};
}

Vector MetalWeights::pack_vector(const HostTensor& vector) {
  expect(vector, vector.dtype == DType::kBF16 || vector.dtype == DType::kF32, "BF16 or F32");
  remember_files(vector);
  const size_t n = size_t(vector.elements());
  auto* to = reinterpret_cast<float*>(take(n * sizeof(float)));
  if (vector.dtype == DType::kF32) {
    vector.read(0, vector.bytes, to);
  } else {
    std::vector<uint16_t> values(n);
    vector.read(0, vector.bytes, values.data());
    std::ranges::transform(values, to, [](uint16_t value) { return bf16_to_f32(value); });
  }
  return {to, int(n)};
}

ExpertMatrix MetalWeights::pack_experts(const HostTensor& blocks, const HostTensor& scales, const HostTensor& bias,
                                        ExpertUse) {
  expect(blocks, blocks.dtype == DType::kU8 && blocks.shape.size() == 4, "U8 [experts, rows, cols/32, 16]");
  expect(scales, scales.dtype == DType::kU8, "U8");
  ExpertMatrix matrix = {.blocks = reinterpret_cast<const uint8_t*>(place(blocks, kMatrixAlignment)),
                         .scales = reinterpret_cast<const uint8_t*>(place(scales, 1)),
                         .bias = nullptr,
                         .experts = int(blocks.shape[0]),
                         .rows = int(blocks.shape[1]),
                         .cols = int(blocks.shape[2]) * kMxBlock};
  matrix.bias = pack_vector(bias).data;
  return matrix;
}

// One buffer for adjacent tensors, as large as a buffer can be. Two buffers may share a page, where one tensor ends and
// the next begins.
void MetalWeights::wrap_files() {
  const auto page = uintptr_t(device_->page_bytes());
  const uint64_t most = device_->limits().buffer_bytes;
  std::ranges::sort(in_files_, {}, &Range::begin);
  const auto begin_of = [&](const Range& range) { return reinterpret_cast<uintptr_t>(range.begin) / page * page; };
  const auto end_of = [&](const Range& range) {
    return (reinterpret_cast<uintptr_t>(range.end) + page - 1) / page * page;
  };
  for (size_t i = 0; i < in_files_.size();) {
    const uintptr_t begin = begin_of(in_files_[i]);
    uintptr_t end = end_of(in_files_[i]);
    for (++i; i < in_files_.size() && begin_of(in_files_[i]) <= end && end_of(in_files_[i]) - begin <= most; ++i) {
      end = std::max(end, end_of(in_files_[i]));
    }
    const auto* at = reinterpret_cast<const std::byte*>(begin);
    if (end - begin > most || !device_->wrap(at, end - begin)) {
      const DeviceMemory now = metal_memory(*device_);
      throw Error(Code::kOutOfMemory,
                  str(device_->limits().name, " does not take ", end - begin, " bytes of the model's file; it has ",
                      now.free_bytes, " bytes free of ", now.total_bytes, ", and takes buffers of ", most));
    }
    wrapped_.push_back(at);
  }
}

void MetalWeights::check_files() const {
  for (const MappedFile* file : files_) {
    file->check();
    file->check_unchanged();
  }
}

void MetalWeights::loaded() {
  check_files();
  wrap_files();
}

}  // namespace oss
