// The only check of a checkpoint that reads weights. MXFP4 scale bytes out of range would become infinities and NaNs,
// and show as garbage text much later.
#pragma once
#include <cstdint>
#include <functional>

#include "native/base/tensor.h"
#include "native/base/thread_pool.h"

namespace oss {

// A weight is fp4 · 2^(scale - 127), fp4 one of 0, ½, 1, 1½, 2, 3, 4, 6 and their negatives. The bounds keep each one a
// finite, normal bf16 (its exponents are those of float32, -126 to 127):
//   least      ½ · 2^(scale - 127) = 2^(scale - 128)          >= 2^-126   ⇔  scale >= 2
//   greatest   6 · 2^(scale - 127) = 1½ · 2^(scale - 125)     <  2^128    ⇔  scale <= 252
// 255 is NaN by the OCP MX specification. A kernel may build ½ · 2^(scale - 127) by shifting scale - 1 into an
// exponent. Trained weights lie near 2^-8, far from both bounds.
constexpr uint8_t kLeastScale = 2;
constexpr uint8_t kGreatestScale = 252;

// Throws kModelFormat for this scale, which is out of range.
[[noreturn]] void throw_bad_scale(const HostTensor& tensor, size_t expert, size_t row, size_t block, uint8_t scale);

// `scales` is U8 [experts, rows, blocks]. Returns the greatest scale. Throws kModelFormat naming file, tensor, expert,
// row, block and value of the first scale out of range; kCancelled when `cancelled`, called once, returns true; and the
// errors of HostTensor::read.
uint8_t check_scales(const HostTensor& scales, ThreadPool& pool, const std::function<bool()>& cancelled);

}  // namespace oss
