// The interface of a device while a model is loaded: it converts each weight to the layout that the operations read.
// Called from the loading thread only. The packed weights live as long as the backend that owns the packer.
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
  kRotated,  // as kProduct, for rows of heads of q or k that are rotated later
  kRouter,   // as kProduct, but never rounded, since its result chooses experts
};
enum class ExpertUse { kGateUp, kDown };

// The shape of one later pack_experts() call.
struct ExpertShape {
  int64_t experts, rows, cols;
};

// Where a backend keeps experts that it has converted to its layout.
struct PackedWeights {
  std::string in = "none";  // "none": the checkpoint's files are read as they are; "memory" or "file": a copy
  std::string path;         // path of the file
  bool made = false;        // it is written during this start
  std::string reason;       // why there is no file although one was requested
};

// The format of attention, embedding and head. Q8 is made at load; it takes half the bytes and is lossy.
enum class DenseWeights { kBF16, kQ8 };

class WeightPacker {
 public:
  virtual ~WeightPacker() = default;

  // Called first, with the shapes of the later pack_experts() calls, in order; the paths for a file that keeps the
  // packed weights between starts, best first; and the key of this file. May wait for another process that writes the
  // file. Throws kCancelled.
  virtual PackedWeights keep_packed(std::span<const ExpertShape>, std::span<const std::string> /*places*/,
                                    uint64_t /*key*/, const std::function<bool()>& /*cancelled*/) {
    return {};
  }
  // Reserves the bytes that the weights take in addition to the mapped files, as BackendSizes sums them up.
  virtual void reserve_weights(uint64_t bytes) = 0;

  // Called once per weight, at load. The tensors must outlive the backend's use of them.
  virtual Matrix pack_matrix(const HostTensor& weight, MatrixUse) = 0;
  virtual Vector pack_vector(const HostTensor& vector) = 0;
  virtual ExpertMatrix pack_experts(const HostTensor& blocks, const HostTensor& scales, const HostTensor& bias,
                                    ExpertUse) = 0;
  // The same for experts in bf16 [experts, rows, cols]. Only a backend that takes ExpertWeights::kBF16 has it.
  virtual ExpertMatrix pack_bf16_experts(const HostTensor& weights, const HostTensor& bias);
  virtual void loaded() = 0;                // called after the last weight
  virtual size_t packed_bytes() const = 0;  // memory in addition to the mapped files
};

}  // namespace oss
