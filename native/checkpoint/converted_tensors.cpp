#include "native/checkpoint/converted_tensors.h"

#include <utility>

#include "kernels/common/mxfp4.h"

namespace oss {

HostTensor made_tensor(const StoredTensor& stored, DType dtype, std::vector<int64_t> shape,
                       std::shared_ptr<const TensorSource> source) {
  HostTensor out = stored.data;
  out.stored = stored.data.stored_type();
  out.dtype = dtype;
  out.shape = std::move(shape);
  out.bytes = size_t(out.elements()) * dtype_bytes(dtype);
  out.data = nullptr;
  out.mapping = nullptr;
  out.source = std::move(source);
  return out;
}

Mxfp4Tensors made_mxfp4(const StoredTensor& stored, std::vector<int64_t> scales_shape,
                        std::shared_ptr<const TensorSource> blocks, std::shared_ptr<const TensorSource> scales) {
  std::vector<int64_t> blocks_shape = scales_shape;
  blocks_shape.push_back(kMxBlockBytes);
  return {.blocks = made_tensor(stored, DType::kU8, std::move(blocks_shape), std::move(blocks)),
          .scales = made_tensor(stored, DType::kU8, std::move(scales_shape), std::move(scales))};
}

}  // namespace oss
