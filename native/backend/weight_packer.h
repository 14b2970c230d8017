// The seam while a model is loaded: each weight becomes what the device's operations read. The calls come from the loading
// thread only. The packed weights live as long as the backend whose packer it is.
#pragma once
#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "native/backend/tensors.h"
#include "native/base/tensor.h"

namespace oss {

enum class MatrixUse {
  kTable,    // rows are looked up
  kProduct,  // rows are multiplied with
  kRotated,  // the same, of q or k: the rows of heads that will be rotated
  kRouter,   // the same, and never rounded: what it gives chooses
};
enum class ExpertUse { kGateUp, kDown };

// Of one pack_experts() call to come.
struct ExpertShape {
  int64_t experts, rows, cols;
};

// Where the experts are that a backend has in a layout of its own.
struct PackedWeights {
  std::string in = "none";  // it reads the checkpoint's files as they are; "memory" or "file": a copy
  std::string path;         // of the file
  bool made = false;        // it is written during this start
  std::string reason;       // why there is no file where one was wanted
};

// What attention, embedding and head are held as. Q8 is made at load, half the bytes, and lossy.
enum class DenseWeights { kBF16, kQ8 };

class WeightPacker {
 public:
  virtual ~WeightPacker() = default;

  // First: what pack_experts() will be called for, in that order, and the files that may keep it from start to start, best
  // first, under this key. May wait for another process that writes one. Throws kCancelled.
  virtual PackedWeights keep_packed(std::span<const ExpertShape>, std::span<const std::string> /*places*/,
                                    uint64_t /*key*/, const std::function<bool()>& /*cancelled*/) {
    return {};
  }
  // Memory that weights take beside the mapped files, before any is loaded; then the whole of it is reserved at once.
  virtual uint64_t matrix_bytes(int64_t rows, int64_t cols, MatrixUse) const = 0;
  virtual uint64_t vector_bytes(int64_t size) const = 0;
  virtual uint64_t experts_bytes(int64_t experts, int64_t rows, int64_t cols) const = 0;  // without the bias
  virtual void reserve_weights(uint64_t bytes) = 0;

  // Once each, at load. The tensors outlive the backend's use of them.
  virtual Matrix pack_matrix(const HostTensor& weight, MatrixUse) = 0;
  virtual Vector pack_vector(const HostTensor& vector) = 0;
  virtual ExpertMatrix pack_experts(const HostTensor& blocks, const HostTensor& scales, const HostTensor& bias,
                                    ExpertUse) = 0;
  virtual void loaded() = 0;                // all weights have been handed over
  virtual size_t packed_bytes() const = 0;  // memory beyond the mapped files
};

}  // namespace oss
