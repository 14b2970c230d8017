// Canonical tensors made from tensors with another packing. Where the bytes in the file are the canonical ones already,
// the result is that part of the file; otherwise it has a source that converts when it is read.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "native/base/tensor.h"
#include "native/checkpoint/conversions.h"
#include "native/checkpoint/stored_tensors.h"

namespace oss {

// The tensor of this type and shape whose bytes `source` makes of `stored`.
HostTensor made_tensor(const StoredTensor& stored, DType dtype, std::vector<int64_t> shape,
                       std::shared_ptr<const TensorSource> source);

// A BF16 matrix. Other values are rounded to nearest, and counted. Throws kUnsupported for a packing that does not run.
HostTensor converted_matrix(const StoredTensor& stored, const std::shared_ptr<Conversions>& conversions);

// A BF16 matrix of this shape from MLX's codes, scales and biases of groups. Throws kModelShape where they do not fit,
// and kUnsupported for codes of other than 2, 4 or 8 bits.
HostTensor affine_matrix(const StoredTensor& words, const StoredTensor& scales, const StoredTensor& biases,
                         const std::vector<int64_t>& shape, const std::shared_ptr<Conversions>& conversions);

// A BF16 or F32 vector, or the biases of experts. Exact. Throws kUnsupported for other types than plain floats.
HostTensor converted_vector(const StoredTensor& stored);

// A tensor whose rows are taken from the parts in turn: row 0 of each part, row 1 of each part, ... `row_dimensions` is
// the number of dimensions that make a row; the one before them grows. The parts have one shape. Throws kUnsupported
// when they have not one dtype.
HostTensor interleaved_rows(std::vector<HostTensor> parts, size_t row_dimensions);

// Both from a tensor [experts, rows, cols] of 17-byte blocks: U8 [experts, rows, cols/32, 16] and [experts, rows, cols/32].
// Reading scales throws kModelFormat for one that is out of range (native/loader/scales.h).
struct Mxfp4Tensors {
  HostTensor blocks, scales;
};
Mxfp4Tensors converted_mxfp4(const StoredTensor& stored);

// The same where two sources make them; scales_shape: [experts, rows, cols/32].
Mxfp4Tensors made_mxfp4(const StoredTensor& stored, std::vector<int64_t> scales_shape,
                        std::shared_ptr<const TensorSource> blocks, std::shared_ptr<const TensorSource> scales);

}  // namespace oss
