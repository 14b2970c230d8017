// Host memory for tensors without data, for backends that compute from it.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "native/base/tensor.h"

namespace oss {

class MadeMemory {
 public:
  // Returns the tensor with its data, which all threads of `pool` make. A tensor that has data is returned unchanged.
  // The data is valid as long as this object. Throws kOutOfMemory, and as HostTensor::read.
  template <typename ThreadPool>
  HostTensor materialize(HostTensor tensor, ThreadPool& pool) {
    if (!tensor.is_made()) return tensor;
    std::byte* data = allocate(tensor);
    pool.parallel_for(int64_t(tensor.bytes), kGrain, [&](int64_t begin, int64_t end, int) {
      tensor.read(size_t(begin), size_t(end - begin), data + begin);
    });
    tensor.data = data;
    return tensor;
  }
  size_t bytes() const { return bytes_; }

 private:
  static constexpr int64_t kGrain = 1 << 20;  // half a millisecond for a synthetic tensor

  std::byte* allocate(const HostTensor& tensor);

  struct Unmap {
    size_t bytes;
    void operator()(std::byte* data) const;
  };
  std::vector<std::unique_ptr<std::byte, Unmap>> blocks_;
  size_t bytes_ = 0;
};

}  // namespace oss
