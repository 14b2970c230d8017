// Memory of one Metal GPU, with a clear error when it is full.
#pragma once
#include <memory>

#include "native/backend/backend.h"
#include "native/backend/metal/device.h"

namespace oss {

// What the GPU may still take: its working set less all buffers of this process.
DeviceMemory metal_memory(const metal::Device& device);

// Filled with zeros. Throws kOutOfMemory with numbers. Nothing may use the memory when the buffer is destroyed.
Buffer allocate_metal(const std::shared_ptr<metal::Device>& device, size_t bytes, const char* what);

// Hands out parts of one allocation in order, each aligned to 256 bytes.
class Parts {
 public:
  explicit Parts(std::byte* begin) : begin_(begin), next_(begin) {}
  template <typename T>
  T* take(size_t elements) {
    T* part = reinterpret_cast<T*>(next_);
    next_ += padded(elements * sizeof(T));
    return part;
  }
  size_t bytes() const { return size_t(next_ - begin_); }

 private:
  std::byte* begin_;
  std::byte* next_;
};

}  // namespace oss
