#include "native/backend/metal/metal_sizes.h"

#include "kernels/common/mxfp4.h"
#include "kernels/common/q8.h"
#include "native/backend/metal/metal_adapters.h"
#include "native/backend/metal/operations.h"
#include "native/backend/metal/step_arrays.h"
#include "native/base/error.h"
#include "native/base/str.h"

namespace oss {

// Larger chunks of a prompt read each weight less often; from here on, products are bound by arithmetic. Where each
// token attends alone, each takes 0.5 MB of scratch memory.
BackendDefaults MetalSizes::defaults() const {
  return {.kv_type = kKvBF16, .max_batch_tokens = repeatable_ ? 256 : 512};
}

void MetalSizes::check(const StepLimits& limits, KvType type) const {
  const auto refuse = [](const auto&... words) {
    throw Error(Code::kUnsupported, str("the Metal backend ", words...));
  };
  if (type == kKvF32) {
    throw Error(Code::kUnsupported,
                "the Metal backend has no \"f32\" KV cache: kvCache.dtype can be \"bf16\" or \"fp8\"", "kvCache.dtype");
  }
  if (limits.head_dim != kHeadDim) refuse("is made for heads of ", kHeadDim, ", not of ", limits.head_dim);
  if (limits.heads > 16 * limits.kv_heads)
    refuse("has at most 16 query heads to a KV head, not ", limits.heads, " to ", limits.kv_heads);
  if (limits.experts > 256) refuse("has at most 256 experts, not ", limits.experts);
  if (limits.top_k > 32) refuse("has at most 32 experts to a token, not ", limits.top_k);
  for (const int size : {limits.hidden, limits.intermediate}) {
    if (size % kMxBlock != 0) refuse("needs layers in multiples of ", kMxBlock, ", not of ", size);
  }
}

bool MetalSizes::becomes_q8(int64_t cols, MatrixUse use, bool stored_q8) const {
  return (dense_weights_ == DenseWeights::kQ8 || stored_q8) && use != MatrixUse::kRouter && cols % kQ8Block == 0;
}

uint64_t MetalSizes::q8_bytes(int64_t rows, int64_t cols) const {
  return uint64_t(rows * (cols / kQ8Block)) * kQ8BlockBytes;
}

uint64_t MetalSizes::matrix_bytes(int64_t rows, int64_t cols, MatrixUse use, bool stored_q8) const {
  return becomes_q8(cols, use, stored_q8) ? padded(q8_bytes(rows, cols)) : 0;
}

uint64_t MetalSizes::workspace_bytes(const StepLimits& l) const {
  return StepArraysRing::bytes(l) + SamplingArrays::bytes(l.rows, l.vocab) +
         padded(metal::attention_scratch_bytes(most_singles(l), l.heads)) +
         padded(metal::experts_scratch_bytes(l.tokens, l.top_k, l.experts, l.hidden, l.intermediate)) +
         padded(metal::sample_scratch_bytes(l.rows, l.vocab));
}

uint64_t MetalSizes::low_rank_bytes(const StepLimits& limits) const { return MetalAdapters::work_bytes(limits); }

uint64_t MetalSizes::adapter_table_bytes(int layers, int experts) const {
  return MetalAdapters::table_bytes(layers, experts);
}

}  // namespace oss
