// Host memory as a Buffer, and memory for intermediate results.
#pragma once
#include <cstddef>

#include "native/backend/tensors.h"

namespace oss {

// Zero-filled and not reserved, since a KV cache may be larger than the part that is ever touched. Throws kOutOfMemory.
Buffer map_memory(size_t bytes, const char* what);

// Memory of one kind of intermediate result: grows to the largest step, then stays.
class Scratch {
 public:
  template <typename T>
  T* reserve(size_t count, const char* what) {
    return static_cast<T*>(reserve_bytes(count * sizeof(T), what));
  }

  size_t bytes() const { return buffer_.bytes(); }

 private:
  void* reserve_bytes(size_t bytes, const char* what);
  Buffer buffer_;
};

}  // namespace oss
