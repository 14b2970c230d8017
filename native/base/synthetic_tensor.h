// Tensors without a file: their bytes are a function of a key (kernels/common/synthetic.h). This makes them on the
// host.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "native/base/tensor.h"

namespace oss {

// Bytes [first_byte, first_byte + bytes) of a synthetic tensor, as a file would hold them.
void synthesize(const HostTensor& tensor, uint64_t first_byte, uint64_t bytes, void* to);

// Host memory that holds whole synthetic tensors, for backends that compute from it.
class SyntheticMemory {
 public:
  // Returns the tensor with its data, which all threads of `pool` make. A tensor that has data is returned unchanged.
  // The data is valid as long as this object. Throws kOutOfMemory.
  template <typename ThreadPool>
  HostTensor materialize(HostTensor tensor, ThreadPool& pool) {
    if (!tensor.synthetic) return tensor;
    std::byte* data = allocate(tensor);
    pool.parallel_for(int64_t(tensor.bytes), kGrain, [&](int64_t begin, int64_t end, int) {
      synthesize(tensor, uint64_t(begin), uint64_t(end - begin), data + begin);
    });
    tensor.data = data;
    return tensor;
  }
  size_t bytes() const { return bytes_; }

 private:
  static constexpr int64_t kGrain = 1 << 20;  // half a millisecond

  std::byte* allocate(const HostTensor& tensor);

  struct Unmap {
    size_t bytes;
    void operator()(std::byte* data) const;
  };
  std::vector<std::unique_ptr<std::byte, Unmap>> blocks_;
  size_t bytes_ = 0;
};

}  // namespace oss
