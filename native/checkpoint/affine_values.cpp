// Dense weights of MLX: value = code · scale + bias. A group of a row shares scale and bias; codes of 2, 4 or 8 bits are
// in 32-bit words, the first in the lowest bits (mlx: python/mlx/nn/layers/quantized.py and mlx/ops.cpp, quantize).
#include <algorithm>
#include <cstring>
#include <utility>

#include "kernels/common/dtype.h"
#include "native/base/error.h"
#include "native/base/float_values.h"
#include "native/base/json.h"
#include "native/base/read_units.h"
#include "native/base/str.h"
#include "native/base/tensor_source.h"
#include "native/checkpoint/converted_tensors.h"

namespace oss {
namespace {

class AffineValues final : public TensorSource {
 public:
  AffineValues(HostTensor words, HostTensor scales, HostTensor biases, int64_t cols,
               std::shared_ptr<Conversions> conversions)
      : words_(std::move(words)),
        scales_(std::move(scales)),
        biases_(std::move(biases)),
        conversions_(std::move(conversions)),
        cols_(cols),
        group_(cols / scales_.shape[1]),
        bits_(int(words_.shape[1] * 32 / cols)) {}

  void read(const HostTensor& tensor, uint64_t first, uint64_t bytes, void* to) const override {
    const uint64_t groups = uint64_t(scales_.shape[1]), element = dtype_bytes(scales_.dtype);
    std::vector<std::byte> words(size_t(words_.shape[1]) * sizeof(uint32_t)), scales(groups * element), biases(scales);
    ConversionSum sum;
    read_units(first, bytes, uint64_t(cols_) * sizeof(uint16_t), 1, to, [&](uint64_t row, uint64_t, std::byte* out) {
      words_.read(row * words.size(), words.size(), words.data());
      scales_.read(row * scales.size(), scales.size(), scales.data());
      biases_.read(row * biases.size(), biases.size(), biases.data());
      for (int64_t i = 0; i < cols_; ++i) {
        const auto group = size_t(i / group_);
        const float value = float(code(words.data(), i)) * float_at(scales_.dtype, scales.data(), group) +
                            float_at(biases_.dtype, biases.data(), group);
        const uint16_t rounded = f32_to_bf16(value);
        std::memcpy(out + size_t(i) * sizeof rounded, &rounded, sizeof rounded);
        sum.add(value, double(bf16_to_f32(rounded)) - double(value));
      }
    });
    conversions_->add(Conversions::kDense, tensor.name, sum);
  }
  std::vector<const MappedFile*> files() const override { return {words_.mapping, scales_.mapping, biases_.mapping}; }

 private:
  // Words are little-endian and codes do not cross bytes, so a code is in one byte.
  uint32_t code(const std::byte* words, int64_t index) const {
    const int64_t bit = index * bits_;
    return (uint32_t(words[bit / 8]) >> (bit % 8)) & ((1u << bits_) - 1u);
  }

  const HostTensor words_, scales_, biases_;
  const std::shared_ptr<Conversions> conversions_;
  const int64_t cols_, group_;
  const int bits_;
};

}  // namespace

HostTensor affine_matrix(const StoredTensor& words, const StoredTensor& scales, const StoredTensor& biases,
                         const std::vector<int64_t>& shape, const std::shared_ptr<Conversions>& conversions) {
  const HostTensor& data = words.data;
  const auto refuse = [](Code code, const HostTensor& tensor, const auto&... parts) {
    throw Error(code, str(tensor.file, ": tensor ", quote(tensor.name), ": ", parts...));
  };
  if (data.dtype != DType::kU32) refuse(Code::kModelShape, data, "expected U32, found ", data.stored_type());
  const bool fits = data.shape.size() == 2 && data.shape[0] == shape[0] && data.shape[1] * 32 % shape[1] == 0;
  const int64_t bits = fits ? data.shape[1] * 32 / shape[1] : 0;
  if (bits != 2 && bits != 4 && bits != 8)
    refuse(Code::kUnsupported, data, "expected codes of 2, 4 or 8 bits for shape ", str_shape(shape), ", found U32 ",
           str_shape(data.shape), "; use the bf16 weights");
  for (const HostTensor* other : {&scales.data, &biases.data}) {
    if (!is_float(other->dtype))
      refuse(Code::kModelShape, *other, "expected BF16, F16 or F32, found ", other->stored_type());
    const bool groups = other->shape.size() == 2 && other->shape[0] == shape[0] && other->shape[1] >= 1 &&
                        shape[1] % other->shape[1] == 0 && other->shape == scales.data.shape &&
                        other->dtype == scales.data.dtype;
    if (!groups)
      refuse(Code::kModelShape, *other, "expected groups of the rows of ", str_shape(shape), ", found ",
             other->stored_type(), " ", str_shape(other->shape));
  }
  HostTensor out = data;
  out.stored = str("affine, ", bits, " bits");
  out.dtype = DType::kBF16;
  out.shape = shape;
  out.bytes = size_t(out.elements()) * sizeof(uint16_t);
  out.data = nullptr;
  out.mapping = nullptr;
  out.source = std::make_shared<AffineValues>(data, scales.data, biases.data, shape[1], conversions);
  return out;
}

}  // namespace oss
