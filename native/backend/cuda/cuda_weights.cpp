#include "native/backend/cuda/cuda_weights.h"

#include <algorithm>

#include "kernels/cuda/plan.h"
#include "native/base/error.h"
#include "native/base/str.h"
#include "native/base/tensor_source.h"

namespace oss {
namespace {

void expect(const HostTensor& tensor, bool accepted, const char* expected) {
  if (accepted) return;
  throw Error(Code::kUnsupported, str(tensor.file, ": the CUDA backend needs ", expected, " for ", tensor.name,
                                      " but it is ", dtype_name(tensor.dtype)));
}

// Kernels decode weights by moving bits into a bf16 and multiplying it with a power of two, which must fit bf16 too.
void expect_scales(const HostTensor& scales, uint8_t greatest) {
  if (greatest <= cuda::kMaxScaleByte) return;
  throw Error(Code::kUnsupported,
              str(scales.file, ": tensor ", scales.name, ": the CUDA backend takes MXFP4 scales up to 2 (byte ",
                  cuda::kMaxScaleByte, "), found byte ", int(greatest)));
}

}  // namespace

void CudaWeights::reserve_weights(uint64_t bytes) {
  weights_ = gpu_->allocate(bytes, "the weights");
  stream_ = std::make_unique<WeightStream>(gpu_);
}

std::byte* CudaWeights::take_weights(uint64_t bytes) {
  if (weights_used_ + padded(bytes) > weights_.bytes()) throw Error(Code::kInternal, "more weights than were planned");
  std::byte* at = weights_.as<std::byte>() + weights_used_;
  weights_used_ += padded(bytes);
  return at;
}

void CudaWeights::send_units(const HostTensor& tensor, int64_t units, size_t unit_bytes,
                             const std::function<void(const void*, int64_t, int64_t)>& pack) {
  const int64_t piece = std::max<int64_t>(1, int64_t(WeightStream::kPieceBytes / unit_bytes));
  for (int64_t first = 0; first < units; first += piece) {
    const int64_t count = std::min(piece, units - first);
    const size_t begin = size_t(first) * unit_bytes;
    stream_->send(tensor, begin, std::min(size_t(count) * unit_bytes, tensor.bytes - begin),
                  [&](const void* raw) { pack(raw, first, count); });
  }
}

Matrix CudaWeights::pack_matrix(const HostTensor& weight, MatrixUse use) {
  if (use == MatrixUse::kRotated) return pack_product(weight, cuda::kRowsRope);
  if (use != MatrixUse::kTable) return pack_product(weight, cuda::kRowsPlain);
  expect(weight, weight.dtype == DType::kBF16 && weight.shape.size() == 2, "a BF16 matrix");
  std::byte* to = take_weights(weight.bytes);
  stream_->send(weight, to);
  return {reinterpret_cast<const uint16_t*>(to), int(weight.shape[0]), int(weight.shape[1])};
}

Matrix CudaWeights::pack_product(const HostTensor& weight, cuda::RowOrder order) {
  expect(weight, weight.dtype == DType::kBF16 && weight.shape.size() == 2, "a BF16 matrix");
  const int rows = int(weight.shape[0]), cols = int(weight.shape[1]);
  std::byte* to = take_weights(cuda::packed_matrix_bytes(rows, cols));
  constexpr int kUnit = kHeadDim;  // rows; a multiple of whole heads and of whole tiles
  send_units(weight, (rows + kUnit - 1) / kUnit, size_t(kUnit) * cols * sizeof(uint16_t),
             [&](const void* raw, int64_t first, int64_t count) {
               const int begin = int(first) * kUnit, end = std::min(rows, begin + int(count) * kUnit);
               launched(module_.pack_matrix({.rows = end - begin, .cols = cols, .order = order},
                                            static_cast<const uint16_t*>(raw),
                                            to + size_t(begin) * cols * sizeof(uint16_t), gpu_->stream),
                        "pack_matrix");
             });
  return {reinterpret_cast<const uint16_t*>(to), rows, cols};
}

Vector CudaWeights::pack_vector(const HostTensor& vector) {
  expect(vector, vector.dtype == DType::kBF16 || vector.dtype == DType::kF32, "BF16 or F32");
  const size_t size = size_t(vector.elements());
  std::byte* to = take_weights(size * sizeof(float));
  stream_->send_f32(vector, to);
  return {reinterpret_cast<const float*>(to), int(size)};
}

ExpertMatrix CudaWeights::pack_experts(const HostTensor& blocks, const HostTensor& scales, const HostTensor& bias,
                                       ExpertUse use) {
  expect(blocks, blocks.dtype == DType::kU8 && blocks.shape.size() == 4, "U8 [experts, rows, cols/32, 16]");
  expect(scales, scales.dtype == DType::kU8, "U8");
  const int experts = int(blocks.shape[0]), rows = int(blocks.shape[1]), cols = int(blocks.shape[2]) * kMxBlock;
  expect_scales(scales, scales.greatest_scale);
  const size_t codes_bytes = cuda::packed_codes_bytes(rows, cols), scales_bytes = cuda::packed_scales_bytes(rows, cols);
  const cuda::RowOrder order = use == ExpertUse::kGateUp ? cuda::kRowsGateUp : cuda::kRowsPlain;
  std::byte* to_codes = take_weights(size_t(experts) * codes_bytes);
  std::byte* to_scales = take_weights(size_t(experts) * scales_bytes);
  const auto args = [&](int64_t count) {
    return cuda::PackExpertsArgs{.experts = int(count), .rows = rows, .cols = cols, .order = order};
  };
  send_units(blocks, experts, blocks.bytes / size_t(experts), [&](const void* raw, int64_t first, int64_t count) {
    launched(module_.pack_expert_codes(args(count), static_cast<const uint8_t*>(raw),
                                       to_codes + size_t(first) * codes_bytes, gpu_->stream),
             "pack_expert_codes");
  });
  send_units(scales, experts, scales.bytes / size_t(experts), [&](const void* raw, int64_t first, int64_t count) {
    launched(module_.pack_expert_scales(args(count), static_cast<const uint8_t*>(raw),
                                        to_scales + size_t(first) * scales_bytes, gpu_->stream),
             "pack_expert_scales");
  });
  if (scales.source != nullptr) expect_scales(scales, scales.source->greatest_scale());  // known once they are read
  return {reinterpret_cast<const uint8_t*>(to_codes),
          reinterpret_cast<const uint8_t*>(to_scales),
          pack_vector(bias).data,
          experts,
          rows,
          cols};
}

void CudaWeights::loaded() {
  stream_->finish();
  stream_.reset();
}

}  // namespace oss
