// Memory of a device, and the tensors in it: activations and weights.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>

namespace oss {

// Device memory; freed by the destructor. Zero-filled, and committed on first touch where the system can.
class Buffer {
 public:
  Buffer() = default;
  Buffer(void* data, size_t bytes, std::function<void(void*, size_t)> release)
      : data_(data), bytes_(bytes), release_(std::move(release)) {}
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    Buffer moved(std::move(other));
    swap(moved);
    return *this;
  }
  ~Buffer() {
    if (data_ != nullptr) release_(data_, bytes_);
  }
  template <typename T>
  T* as() const {
    return static_cast<T*>(data_);
  }
  size_t bytes() const { return bytes_; }

 private:
  void swap(Buffer& other) {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    std::swap(release_, other.release_);
  }
  void* data_ = nullptr;
  size_t bytes_ = 0;
  std::function<void(void*, size_t)> release_;
};

// 256 bytes: no two tensors share a cache line or a memory transaction.
constexpr uint64_t padded(uint64_t bytes) { return (bytes + 255) / 256 * 256; }

// Activations between a device's operations: float32 on the CPU, which rounds them (numerics "fast") when it packs them
// for a product; bf16 on CUDA. Sums and the residual stream are float32 everywhere.
struct Operand {
  void* data = nullptr;
  void* low = nullptr;  // for LinearArgs::precise: the rounding error, rounded too
  template <typename T>
  T* as() const {
    return static_cast<T*>(data);
  }
};

// Weights in the device's layout. On the CPU a bf16 matrix is the mapped file itself.
struct Matrix {                    // [rows, cols]
  const uint16_t* data = nullptr;  // bf16; null when the rows are Q8 (kernels/common/q8.h):
  int rows = 0, cols = 0;
  const int8_t* q8_codes = nullptr;     // [rows, cols]
  const uint16_t* q8_scales = nullptr;  // [rows, cols/32]
};

struct Vector {  // f32 [size]
  const float* data = nullptr;
  int size = 0;
};
struct QkvWeights {
  Matrix q, k, v;
  Vector q_bias, k_bias, v_bias;
};
struct ExpertMatrix {               // [experts, rows, cols] in MXFP4 or bf16, and its bias f32 [experts, rows]
  const uint8_t* blocks = nullptr;  // [experts, rows, cols/32, 16]
  const uint8_t* scales = nullptr;  // [experts, rows, cols/32]
  const float* bias = nullptr;
  int experts = 0, rows = 0, cols = 0;
  const uint16_t* bf16 = nullptr;  // [experts, rows, cols]; then there are no blocks and scales
};

// The format of the experts. Those that a file holds in MXFP4 are never bf16.
enum class ExpertWeights { kMXFP4, kBF16 };

}  // namespace oss
