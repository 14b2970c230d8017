// A tensor in a mapped file: bytes with another owner, and a name for error messages.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace oss {

enum class DType { kBool, kU8, kI8, kI16, kU16, kI32, kU32, kI64, kU64, kF16, kBF16, kF32, kF64 };

constexpr size_t dtype_bytes(DType dtype) {
  switch (dtype) {
    case DType::kBool:
    case DType::kU8:
    case DType::kI8:
      return 1;
    case DType::kI16:
    case DType::kU16:
    case DType::kF16:
    case DType::kBF16:
      return 2;
    case DType::kI32:
    case DType::kU32:
    case DType::kF32:
      return 4;
    case DType::kI64:
    case DType::kU64:
    case DType::kF64:
      return 8;
  }
  return 0;
}

// The names of the safetensors format: "BF16", "U8", ...
const char* dtype_name(DType dtype);

// The parameters that make the bytes of a tensor without a file.
struct SyntheticSource {
  int kind = 0;  // SyntheticKind of kernels/common/synthetic.h
  uint64_t key = 0;
  float scale = 0;
};

class MappedFile;
class TensorSource;

struct HostTensor {
  std::string name;  // as the file spells it
  std::string file;  // path, for messages
  DType dtype = DType::kU8;
  std::vector<int64_t> shape;
  const std::byte* data = nullptr;  // aligned to dtype_bytes(dtype); valid as long as the Checkpoint
  size_t bytes = 0;
  std::optional<SyntheticSource> synthetic{};    // then data is null
  std::shared_ptr<const TensorSource> source{};  // then data is null: native/base/tensor_source.h
  // The file that holds `data`: its pages can be dropped, and come back when they are read again.
  const MappedFile* mapping = nullptr;
  uint8_t greatest_scale = 0;  // of MXFP4 scales in a file; set by their check
  std::string stored{};        // the type in the file, where it is not `dtype`: "Q8_0"

  // Copies bytes [first, first + bytes) into the caller's memory. It makes them for a tensor without data, and reads
  // them from the file otherwise. Any thread. Throws as MappedFile::read.
  void read(size_t first, size_t bytes, void* to) const;

  bool is_made() const { return synthetic || source != nullptr; }
  const char* stored_type() const { return stored.empty() ? dtype_name(dtype) : stored.c_str(); }

  int64_t elements() const {
    int64_t n = 1;
    for (int64_t extent : shape) n *= extent;
    return n;
  }
  template <typename T>
  const T* as() const {
    return reinterpret_cast<const T*>(data);
  }
};

}  // namespace oss
