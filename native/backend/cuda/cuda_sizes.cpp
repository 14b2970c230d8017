#include "native/backend/cuda/cuda_sizes.h"

#include "kernels/cuda/layout.h"
#include "kernels/cuda/sample_scratch.h"
#include "native/backend/cuda/cuda_adapters.h"
#include "native/backend/cuda/step_buffers.h"
#include "native/base/error.h"
#include "native/base/str.h"

namespace oss {

// Larger chunks of a prompt read each weight less often. Where each token attends alone, each takes 0.5 MB of scratch
// memory.
BackendDefaults CudaSizes::defaults() const {
  return {.kv_type = kKvBF16, .max_batch_tokens = repeatable_ ? 256 : 2048};
}

void CudaSizes::check(const StepLimits& limits, KvType type) const {
  const auto refuse = [](const auto&... words) { throw Error(Code::kUnsupported, str("the CUDA backend ", words...)); };
  if (type == kKvF32) {
    throw Error(Code::kUnsupported,
                "the CUDA backend has no \"f32\" KV cache: kvCache.dtype can be \"bf16\" or \"fp8\"", "kvCache.dtype");
  }
  if (limits.head_dim != kHeadDim) refuse("is made for heads of ", kHeadDim, ", not of ", limits.head_dim);
  if (limits.heads > 16 * limits.kv_heads)
    refuse("has at most 16 query heads to a KV head, not ", limits.heads, " to ", limits.kv_heads);
  if (limits.experts > 256) refuse("has at most 256 experts, not ", limits.experts);
  for (const int size : {limits.hidden, limits.intermediate}) {
    if (size % kMxBlock != 0) refuse("needs layers in multiples of ", kMxBlock, ", not of ", size);
  }
}

uint64_t CudaSizes::matrix_bytes(int64_t rows, int64_t cols, MatrixUse use, bool /*stored_q8*/) const {
  return padded(use == MatrixUse::kTable ? uint64_t(rows) * cols * 2 : cuda::packed_matrix_bytes(rows, cols));
}

uint64_t CudaSizes::vector_bytes(int64_t size) const { return padded(uint64_t(size) * sizeof(float)); }

uint64_t CudaSizes::experts_bytes(int64_t experts, int64_t rows, int64_t cols) const {
  return padded(uint64_t(experts) * cuda::packed_codes_bytes(rows, cols)) +
         padded(uint64_t(experts) * cuda::packed_scales_bytes(rows, cols));
}

uint64_t CudaSizes::workspace_bytes(const StepLimits& l) const {
  const int singles = most_singles(l);
  return StepBuffers::bytes(l) + padded(cuda::attention_scratch_bytes(singles, l.heads)) +
         padded(cuda::attention_counter_bytes(singles, l.kv_heads)) +
         padded(cuda::experts_scratch(l.tokens, l.top_k, l.experts, l.hidden, l.intermediate).bytes) +
         padded(cuda::sample_scratch_bytes({.rows = l.rows, .vocab = l.vocab})) +
         padded(SamplingBuffers::bytes(l.rows, l.vocab));
}

uint64_t CudaSizes::low_rank_bytes(const StepLimits& limits) const { return CudaAdapters::work_bytes(limits); }

uint64_t CudaSizes::adapter_table_bytes(int layers, int experts) const {
  return CudaAdapters::table_bytes(layers, experts);
}

}  // namespace oss
