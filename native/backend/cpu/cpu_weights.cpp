#include "native/backend/cpu/cpu_weights.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <exception>
#include <mutex>

#include "kernels/common/mxfp4.h"
#include "kernels/common/q8.h"
#include "kernels/cpu/strips.h"
#include "native/backend/cpu/host_memory.h"
#include "native/base/error.h"
#include "native/base/str.h"
#include "native/base/tensor_source.h"

namespace oss {

void CpuWeights::remember_files(const HostTensor& tensor) {
  files_.insert(tensor.mapping);
  if (tensor.source == nullptr) return;
  for (const MappedFile* file : tensor.source->files()) files_.insert(file);
}

HostTensor CpuWeights::keep(const HostTensor& tensor) {
  if (tensor.source != nullptr) packed_bytes_ += tensor.bytes;
  return made_.materialize(tensor, pool_);
}

static void expect_dtype(const HostTensor& tensor, bool accepted, const char* expected) {
  if (accepted) return;
  throw Error(Code::kUnsupported, str(tensor.file, ": the CPU backend needs ", expected, " for ", tensor.name,
                                      " but it is ", dtype_name(tensor.dtype)));
}

// Lets the system drop the whole pages of a mapped file in [data, data + bytes).
static void let_go(const std::byte* data, size_t bytes) {
  static const uintptr_t page = uintptr_t(sysconf(_SC_PAGESIZE));
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(data) + page - 1) / page * page;
  const uintptr_t end = (reinterpret_cast<uintptr_t>(data) + bytes) / page * page;
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

bool CpuWeights::quantize(const HostTensor& weight, MatrixUse use, int8_t* codes, uint16_t* scales) {
  MadeMemory passing;
  const bool copies = holds_q8(weight);
  const HostTensor from = copies ? weight : passing.materialize(weight, pool_);
  const int64_t rows = from.shape[0], cols = from.shape[1], row_blocks = cols / kQ8Block;
  const int64_t grain = cpu::whole_strips(std::max<int64_t>(1, (1 << 20) / (cols * 2)));  // rows of 1 MB
  const bool strips = sizes_.in_strips(use);
  std::atomic<bool> all = true;
  pool_.parallel_for(rows, grain, [&](int64_t begin, int64_t end, int) {
    std::vector<int8_t> row_codes(strips ? size_t(cpu::kStripRows * cols) : 0);
    std::vector<uint16_t> row_scales(strips ? size_t(cpu::kStripRows * row_blocks) : 0);
    for (int64_t row = begin; row < end; row += cpu::kStripRows) {
      const int64_t n = std::min<int64_t>(cpu::kStripRows, end - row);
      int8_t* to_codes = strips ? row_codes.data() : codes + row * cols;
      uint16_t* to_scales = strips ? row_scales.data() : scales + row * row_blocks;
      const uint16_t* x = copies ? nullptr : from.as<uint16_t>() + row * cols;
      const auto row_block = uint64_t(row * row_blocks), blocks = uint64_t(n * row_blocks);
      if (!(copies ? from.source->read_q8(from, row_block, blocks, to_codes, to_scales)
                   : kernels_.quantize_q8(size_t(blocks), x, to_codes, to_scales)))
        all = false;
      if (strips) {
        cpu::pack_q8_strip(int(n), int(row_blocks), to_codes, to_scales, codes + row * cols, scales + row * row_blocks);
      }
      if (from.mapping != nullptr) let_go(reinterpret_cast<const std::byte*>(x), size_t(n * cols) * sizeof(uint16_t));
    }
  });
  return all;
}

// Allocates memory for weights that are not part of a file.
static Buffer allocate_weights(size_t bytes) {
  Buffer buffer = map_memory(bytes, "weights");
#ifdef MADV_HUGEPAGE
  madvise(buffer.as<void>(), buffer.bytes(), MADV_HUGEPAGE);  // a hint: large pages need fewer faults and table walks
#endif
  return buffer;
}

Matrix CpuWeights::pack_matrix(const HostTensor& weight, MatrixUse use) {
  expect_dtype(weight, weight.dtype == DType::kBF16 && weight.shape.size() == 2, "a BF16 matrix");
  remember_files(weight);
  const int rows = int(weight.shape[0]), cols = int(weight.shape[1]);
  if (sizes_.becomes_q8(cols, use, holds_q8(weight))) {
    Buffer buffer = allocate_weights(sizes_.q8_bytes(rows, cols, use));
    auto* codes = buffer.as<int8_t>();
    auto* scales = reinterpret_cast<uint16_t*>(codes + buffer.bytes() / kQ8BlockBytes * kQ8Block);
    if (quantize(weight, use, codes, scales)) {
      packed_bytes_ += buffer.bytes();
      weights_.push_back(std::move(buffer));
      return {.rows = rows, .cols = cols, .q8_codes = codes, .q8_scales = scales};
    }
  }
  return {keep(weight).as<uint16_t>(), rows, cols};
}

Vector CpuWeights::pack_vector(const HostTensor& tensor) {
  remember_files(tensor);
  MadeMemory passing;
  const HostTensor vector = passing.materialize(tensor, pool_);
  expect_dtype(vector, vector.dtype == DType::kBF16 || vector.dtype == DType::kF32, "BF16 or F32");
  const size_t n = size_t(vector.elements());
  auto copy = std::make_unique<float[]>(n);
  if (vector.dtype == DType::kBF16) {
    kernels_.widen(n, vector.as<uint16_t>(), copy.get());
  } else {
    std::memcpy(copy.get(), vector.data, n * sizeof(float));
  }
  packed_bytes_ += n * sizeof(float);
  packed_.push_back(std::move(copy));
  return {packed_.back().get(), int(n)};
}

static PackedFile::ForEach on_all_threads(ThreadPool& pool) {
  return [&pool](int64_t count, const std::function<void(int64_t)>& body) {
    pool.parallel_for(count, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) body(i);
    });
  };
}

PackedWeights CpuWeights::keep_packed(std::span<const ExpertShape> shapes, std::span<const std::string> places,
                                      uint64_t key, const std::function<bool()>& cancelled) {
  if (!sizes_.packs_experts()) return {};
  PackedWeights out{.in = "memory", .path = "", .made = false, .reason = ""};
  std::vector<uint64_t> sections;
  for (const ExpertShape& shape : shapes) {
    const uint64_t blocks = uint64_t(shape.experts * shape.rows * (shape.cols / kMxBlock));
    sections.push_back(blocks * kMxBlockBytes);
    sections.push_back(blocks);
  }
  const auto keep = [&](std::unique_ptr<PackedFile> file, const std::string& reason) {
    if (file == nullptr) {
      out.reason += str(out.reason.empty() ? "" : "; ", reason);
      return false;
    }
    out = {.in = "file", .path = file->path(), .made = !file->complete(), .reason = ""};
    packed_file_ = std::move(file);
    return true;
  };
  std::string reason;
  const PackedFile::ForEach for_each = on_all_threads(pool_);
  for (const std::string& path : places) {
    PackedFile::remove_abandoned(path);
    auto file = PackedFile::map(path, key, sections, reason, for_each);
    if (file != nullptr && keep(std::move(file), "")) return out;
  }
  for (const std::string& path : places) {
    if (keep(PackedFile::map_or_make(path, key, sections, reason, cancelled, for_each), reason)) break;
  }
  return out;
}

ExpertMatrix CpuWeights::pack_experts(const HostTensor& blocks, const HostTensor& scales, const HostTensor& bias,
                                      ExpertUse use) {
  expect_dtype(blocks, blocks.dtype == DType::kU8 && blocks.shape.size() == 4, "U8 [experts, rows, cols/32, 16]");
  expect_dtype(scales, scales.dtype == DType::kU8, "U8");
  remember_files(blocks);
  remember_files(scales);
  ExpertMatrix matrix = {.bias = pack_vector(bias).data,
                         .experts = int(blocks.shape[0]),
                         .rows = int(blocks.shape[1]),
                         .cols = int(blocks.shape[2]) * kMxBlock};
  if (!sizes_.packs_experts()) {
    matrix.blocks = keep(blocks).as<uint8_t>();
    matrix.scales = keep(scales).as<uint8_t>();
  } else if (packed_file_ != nullptr) {
    const size_t codes = next_section_++, exponents = next_section_++;
    if (!packed_file_->complete()) pack_strips_to_file(blocks, scales, use, codes, exponents);
    matrix.blocks = reinterpret_cast<const uint8_t*>(packed_file_->section(codes));
    matrix.scales = reinterpret_cast<const uint8_t*>(packed_file_->section(exponents));
  } else {
    Buffer buffer = allocate_weights(sizes_.experts_bytes(matrix.experts, matrix.rows, matrix.cols));
    auto* codes = buffer.as<uint8_t>();
    auto* exponents = codes + blocks.bytes;
    for_each_strip(blocks, scales, use, [&](int64_t strip, const PackStrip& pack) {
      const size_t strip_scales = size_t(blocks.shape[2]) * cpu::kStripRows;
      pack(codes + size_t(strip) * strip_scales * kMxBlockBytes, exponents + size_t(strip) * strip_scales);
    });
    matrix.blocks = codes;
    matrix.scales = exponents;
    packed_bytes_ += buffer.bytes();
    weights_.push_back(std::move(buffer));
  }
  return matrix;
}

// The rows of a file or of its transposition are those that products read.
ExpertMatrix CpuWeights::pack_bf16_experts(const HostTensor& weights, const HostTensor& bias) {
  expect_dtype(weights, weights.dtype == DType::kBF16 && weights.shape.size() == 3, "BF16 [experts, rows, cols]");
  remember_files(weights);
  if (weights.synthetic) packed_bytes_ += weights.bytes;
  return {.bias = pack_vector(bias).data,
          .experts = int(weights.shape[0]),
          .rows = int(weights.shape[1]),
          .cols = int(weights.shape[2]),
          .bf16 = keep(weights).as<uint16_t>()};
}

// Visits all rows of all experts, 32 at a time, on all threads; releases the checkpoint's pages after reading them.
void CpuWeights::for_each_strip(const HostTensor& blocks, const HostTensor& scales, ExpertUse use,
                                const std::function<void(int64_t strip, const PackStrip&)>& body) {
  MadeMemory passing;
  const HostTensor from = passing.materialize(blocks, pool_), exponents = passing.materialize(scales, pool_);
  const int64_t steps = from.shape[2], strips = from.shape[0] * from.shape[1] / cpu::kStripRows;
  const size_t strip_scales = size_t(steps) * cpu::kStripRows, strip_bytes = strip_scales * kMxBlockBytes;
  const int64_t grain = std::max<int64_t>(1, (1 << 20) / int64_t(strip_bytes));
  pool_.parallel_for(strips, grain, [&](int64_t begin, int64_t end, int) {
    for (int64_t first = begin; first < end; first += grain) {
      const int64_t last = std::min(first + grain, end);
      for (int64_t s = first; s < last; ++s) {
        body(s, [&](uint8_t* to_codes, uint8_t* to_scales) {
          cpu::pack_mxfp4_strip(int(steps), use == ExpertUse::kGateUp, from.as<uint8_t>() + s * strip_bytes,
                                exponents.as<uint8_t>() + s * strip_scales, to_codes, to_scales);
        });
      }
      if (from.mapping != nullptr) let_go(from.data + first * strip_bytes, size_t(last - first) * strip_bytes);
    }
  });
  if (exponents.mapping != nullptr) let_go(exponents.data, exponents.bytes);
}

void CpuWeights::pack_strips_to_file(const HostTensor& blocks, const HostTensor& scales, ExpertUse use, size_t codes,
                                     size_t exponents) {
  const size_t strip_scales = size_t(blocks.shape[2]) * cpu::kStripRows, strip_bytes = strip_scales * kMxBlockBytes;
  std::mutex failing;
  std::exception_ptr failure;
  for_each_strip(blocks, scales, use, [&](int64_t strip, const PackStrip& pack) {
    std::vector<uint8_t> packed(strip_bytes + strip_scales);
    pack(packed.data(), packed.data() + strip_bytes);
    try {
      packed_file_->write(codes, uint64_t(strip) * strip_bytes, packed.data(), strip_bytes);
      packed_file_->write(exponents, uint64_t(strip) * strip_scales, packed.data() + strip_bytes, strip_scales);
    } catch (...) {  // an exception must not leave a pool thread
      std::lock_guard lock(failing);
      failure = std::current_exception();
    }
  });
  if (failure) std::rethrow_exception(failure);
  for (const size_t section : {codes, exponents}) {
    packed_file_->seal(section, on_all_threads(pool_));
  }
}

void CpuWeights::check_files() const {
  for (const MappedFile* file : files_) {
    if (file == nullptr) continue;
    file->check();
    file->check_unchanged();
  }
  if (packed_file_ != nullptr) packed_file_->check();
}

void CpuWeights::loaded() {
  check_files();  // before the packed data is kept
  if (packed_file_ != nullptr && !packed_file_->complete()) packed_file_->finish();
}

}  // namespace oss
