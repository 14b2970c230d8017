#include "native/backend/cpu/cpu_sizes.h"

#include <algorithm>

#include "kernels/common/mxfp4.h"
#include "kernels/common/q8.h"
#include "kernels/cpu/strips.h"
#include "native/backend/cpu/ranges.h"
#include "native/backend/low_rank.h"
#include "native/base/error.h"

namespace oss {

// A cancel, and every other decode, waits for one chunk of a prompt. Exact products gain nothing from larger chunks;
// fast ones unpack each expert's weights once per chunk.
BackendDefaults CpuSizes::defaults() const {
  return {.kv_type = kKvF32, .max_batch_tokens = bf16_ != nullptr ? 512 : 256};
}

void CpuSizes::check(const StepLimits&, KvType type) const {
  if (type == kKvFP8) {
    throw Error(Code::kUnsupported, "kvCache.dtype \"fp8\" needs a GPU; the CPU has \"f32\" and \"bf16\"",
                "kvCache.dtype");
  }
}

bool CpuSizes::becomes_q8(int64_t cols, MatrixUse use, bool stored_q8) const {
  return (dense_weights_ == DenseWeights::kQ8 || stored_q8) && use != MatrixUse::kRouter && cols % kQ8Block == 0;
}

// The rows of a table are looked up one by one.
bool CpuSizes::in_strips(MatrixUse use) const {
  return has_strips() && (use == MatrixUse::kProduct || use == MatrixUse::kRotated);
}

uint64_t CpuSizes::q8_bytes(int64_t rows, int64_t cols, MatrixUse use) const {
  return uint64_t((in_strips(use) ? cpu::whole_strips(rows) : rows) * cols / kQ8Block) * kQ8BlockBytes;
}

uint64_t CpuSizes::matrix_bytes(int64_t rows, int64_t cols, MatrixUse use, bool stored_q8) const {
  return becomes_q8(cols, use, stored_q8) ? q8_bytes(rows, cols, use) : 0;
}

uint64_t CpuSizes::experts_bytes(int64_t experts, int64_t rows, int64_t cols) const {
  return packs_experts() ? uint64_t(experts * rows * (cols / kMxBlock)) * (kMxBlockBytes + 1) : 0;
}

// --- work memory: test/native/cpu_sizes_test.cpp compares it with what steps take ------------------------------------

// As experts.cpp and experts_bf16.cpp take it, for steps in which every expert is chosen. Products (products.cpp) share
// the panels.
uint64_t CpuSizes::expert_bytes(const StepLimits& l) const {
  const uint64_t hidden = uint64_t(l.hidden), inner = uint64_t(l.intermediate), q_size = uint64_t(l.heads) * l.head_dim;
  const uint64_t pairs = uint64_t(l.tokens) * l.top_k;
  const bool in_bf16 = expert_weights_ == ExpertWeights::kBF16;
  const uint64_t products = in_bf16 ? uint64_t(threads_) * l.tokens * kMostExpertRows * sizeof(float) : 0;
  const uint64_t out = pairs * hidden * sizeof(float) + products;
  if (bf16_ == nullptr) return out + ((in_bf16 ? pairs : l.tokens) * hidden + pairs * inner) * sizeof(float);
  const uint64_t panel_rows = uint64_t(bf16_->panel_rows), chosen = std::min<uint64_t>(l.experts, pairs);
  const uint64_t expert_rows =
      (chosen + (pairs - chosen) / panel_rows) * panel_rows;  // the last panel of each not full
  const uint64_t token_rows = (std::max(l.tokens, l.rows) + panel_rows - 1) / panel_rows * panel_rows;
  const uint64_t cols = cpu::panel_cols(int(std::max(hidden, q_size)));
  const uint64_t expert_cols = in_bf16 ? std::max(hidden, inner) : hidden;  // activations are packed like inputs
  const uint64_t panels =
      std::max(expert_rows * expert_cols, token_rows * cols) + token_rows * hidden;  // with low parts
  const uint64_t act = in_bf16 ? pairs * inner * sizeof(float) : expert_rows * inner * sizeof(uint16_t);
  const int widest = std::max({l.hidden, l.intermediate, int(q_size)});
  const uint64_t work = cpu::most_packed_work_elements(widest) * threads_;
  return out + act + (panels + work) * sizeof(uint16_t);
}

// As attention.cpp and qkv take it.
uint64_t CpuSizes::attention_bytes(const StepLimits& l) const {
  const AttentionArgs args{.tokens = l.tokens,
                           .heads = l.heads,
                           .kv_heads = l.kv_heads,
                           .head_dim = l.head_dim,
                           .group = kKvFull,
                           .type = kKvBF16,  // which needs no less than the others
                           .window = 0,
                           .max_pages = l.max_pages,
                           .scale = 1};
  const bool in_unit = bf16_ != nullptr && bf16_->attention_tokens > 0 && l.head_dim == kHeadDim;
  const int tokens = in_unit ? bf16_->attention_tokens : cpu::kAttentionTokens;
  const uint64_t state = cpu::attention_state_floats(args, tokens) * sizeof(float);
  const uint64_t tiles = uint64_t(tokens * (l.heads / l.kv_heads) + 15) / 16;
  const uint64_t work = in_unit ? cpu::kMostAttentionWorkBytes + tiles * cpu::kMostAttentionPanelBytes
                                : cpu::attention_work_floats(args) * sizeof(float);
  // Threads share the chunks of a sequence where there are fewer than two passes for each.
  const uint64_t chunks = uint64_t(l.max_pages + cpu::kChunkPages - 1) / cpu::kChunkPages;
  const uint64_t passes = threads_ > 1 ? uint64_t(2 * threads_ - 1) / l.kv_heads * l.kv_heads : 0;
  const uint64_t keys_and_values = 2 * uint64_t(l.tokens) * l.kv_heads * l.head_dim * sizeof(float);
  return keys_and_values + threads_ * (work + 2 * state) + passes * chunks * state;
}

// As low_rank.cpp takes it, for steps in which every expert of every token has a term of the greatest rank.
uint64_t CpuSizes::low_rank_bytes(const StepLimits& l) const {
  const uint64_t pairs = uint64_t(l.tokens) * l.top_k, hidden = uint64_t(l.hidden), inner = uint64_t(l.intermediate);
  const uint64_t terms = pairs * (std::max(hidden, inner) + 2 * inner + hidden);
  return (terms + std::max(pairs, uint64_t(l.rows)) * kMostRank) * sizeof(float);
}

uint64_t CpuSizes::workspace_bytes(const StepLimits& limits) const {
  return expert_bytes(limits) + attention_bytes(limits);
}

}  // namespace oss
