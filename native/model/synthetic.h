// Models without files: the full shapes of gpt-oss with seeded random weights, made where they are needed.
//
//   synthetic:NAME[?seed=N&skew=X]      NAME  120b, 20b, small (0.4 GB, full vocabulary) or tiny (0.4 MB)
//                                       seed  64 bits, 1 unless given      skew  0 .. 100, 0 unless given
//
// Weights are scaled so that activations stay as large as in a trained model (synthetic.cpp), all bytes are fixed by the
// seed (kernels/common/synthetic.h), and nothing that such a model says has a meaning.
//
// Skew: the router's logits are about normal with deviation 1 over tokens; each expert of each layer has a bias of its
// own, normal with deviation `skew`. Share of all (token, expert) pairs that a layer's four most loaded experts take, and
// of experts that are used at all, in 2,000 tokens:
//
//   skew           0            0.5          1            2            4
//   32 experts     14 %, all    31 %, all    48 %, 97 %   68 %, 68 %   81 %, 42 %
//   128 experts     4 %, all    15 %, 99 %   35 %, 79 %   59 %, 37 %   74 %, 17 %
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "native/base/tensor.h"
#include "native/loader/checkpoint.h"

namespace oss {

bool is_synthetic(std::string_view path);  // starts with "synthetic:"

// Throws kModelNotFound for a name that there is not, kInvalidArgument for a parameter.
std::unique_ptr<Checkpoint> synthetic_checkpoint(const std::string& path);

// Bytes [first_byte, first_byte + bytes) of a synthetic tensor, as a file would hold them.
void synthesize(const HostTensor& tensor, uint64_t first_byte, uint64_t bytes, void* to);

// Host memory with whole synthetic tensors, for backends that compute from it.
class SyntheticMemory {
 public:
  // The tensor with its data made by all threads of `pool`; one that has data is returned as it is. The data lives as
  // long as this. Throws kOutOfMemory.
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
