#include "native/lab/weights.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "kernels/common/mxfp4.h"
#include "native/base/tensor_source.h"

namespace oss::lab {
namespace {

// Bytes in an array of this process: the packer makes its own copy of them.
class ArraySource final : public TensorSource {
 public:
  explicit ArraySource(std::vector<std::byte> bytes) : bytes_(std::move(bytes)) {}
  void read(const HostTensor&, uint64_t first, uint64_t bytes, void* to) const override {
    std::memcpy(to, bytes_.data() + first, bytes);
  }
  std::vector<const MappedFile*> files() const override { return {}; }

 private:
  const std::vector<std::byte> bytes_;
};

HostTensor tensor_of(Array& from, std::vector<int64_t> shape) {
  HostTensor tensor;
  tensor.name = "an array of the lab";
  tensor.dtype = from.dtype;
  tensor.shape = std::move(shape);
  tensor.bytes = from.bytes();
  if (from.synthetic) {
    tensor.synthetic = from.synthetic;
  } else {
    tensor.source = std::make_shared<ArraySource>(std::exchange(from.host, {}));
  }
  return tensor;
}

}  // namespace

size_t copies_for(uint64_t bytes, size_t cold_bytes) {
  constexpr uint64_t kMost = 4096;  // a process has a limited number of mappings
  return bytes == 0 ? 1 : size_t(std::clamp<uint64_t>((cold_bytes + bytes - 1) / bytes, 1, kMost));
}

size_t Weights::add_matrix(Array& values, int64_t rows, int64_t cols, MatrixUse use) {
  wanted_.emplace_back(OneMatrix{tensor_of(values, {rows, cols}), use});
  return wanted_.size() - 1;
}

size_t Weights::add_vector(Array& values) {
  wanted_.emplace_back(OneVector{tensor_of(values, {int64_t(values.elements)})});
  return wanted_.size() - 1;
}

size_t Weights::add_experts(Array& blocks, Array& scales, Array& bias, ExpertShape shape, ExpertUse use) {
  const auto [experts, rows, cols] = shape;
  wanted_.emplace_back(Experts{tensor_of(blocks, {experts, rows, cols / kMxBlock, kMxBlockBytes}),
                               tensor_of(scales, {experts, rows, cols / kMxBlock}), tensor_of(bias, {experts, rows}),
                               shape, use});
  return wanted_.size() - 1;
}

void Weights::pack(Backend& backend, size_t cold_bytes) {
  const BackendSizes& sizes = backend.sizes();
  uint64_t bytes = 0, held = 0;
  std::vector<ExpertShape> shapes;
  for (const auto& one : wanted_) {
    if (const auto* matrix = std::get_if<OneMatrix>(&one)) {
      bytes += sizes.matrix_bytes(matrix->tensor.shape[0], matrix->tensor.shape[1], matrix->use, false);
      held += matrix->tensor.bytes;
    } else if (const auto* vector = std::get_if<OneVector>(&one)) {
      bytes += sizes.vector_bytes(vector->tensor.elements());
    } else {
      const auto& experts = std::get<Experts>(one);
      bytes += sizes.experts_bytes(experts.shape.experts, experts.shape.rows, experts.shape.cols);
      bytes += sizes.vector_bytes(experts.bias.elements());
      shapes.push_back(experts.shape);
      held += experts.blocks.bytes + experts.scales.bytes;
    }
  }
  const size_t copies = copies_for(held, cold_bytes);
  while (copies_.size() < copies) {
    Copy copy{.packer = backend.make_packer(), .weights = {}};
    WeightPacker& packer = *copy.packer;
    packer.keep_packed(shapes, {}, 0, [] { return false; });
    packer.reserve_weights(bytes);
    for (const auto& one : wanted_) {
      if (const auto* matrix = std::get_if<OneMatrix>(&one)) {
        copy.weights.emplace_back(packer.pack_matrix(matrix->tensor, matrix->use));
      } else if (const auto* vector = std::get_if<OneVector>(&one)) {
        copy.weights.emplace_back(packer.pack_vector(vector->tensor));
      } else {
        const auto& experts = std::get<Experts>(one);
        copy.weights.emplace_back(packer.pack_experts(experts.blocks, experts.scales, experts.bias, experts.use));
      }
    }
    packer.loaded();
    copies_.push_back(std::move(copy));
  }
}

}  // namespace oss::lab
