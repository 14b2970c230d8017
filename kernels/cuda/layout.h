// The layouts that the CUDA kernels read: sizes and numberings with which the host plans. No CUDA headers.
//
// Matrices are cut into tiles of 16 output rows. Each lane's bytes of a tensor-core fragment are contiguous, so that a
// warp reads a tile with 16-byte loads directly into the registers of the multiplication. The shapes of the released
// models need no padding; small test models are padded with zeros.
#pragma once
#include <cstddef>
#include <cstdint>

#include "kernels/common/args.h"
#include "kernels/common/mxfp4.h"

namespace oss::cuda {

constexpr int kRowTile = 16;  // rows of the first operand of mma.m16n8k16
constexpr int kMatrixColTile =
    32;  // columns of a bf16 tile: two k-steps, one 16-byte load of the other operand per lane
constexpr int kExpertColTile = 64;  // columns of an MXFP4 tile: one 16-byte load per lane, two scales per row

constexpr int64_t tiles_of(int64_t extent, int64_t tile) { return (extent + tile - 1) / tile; }

// bf16 [rows, cols], packed. cols must be a multiple of 32.
constexpr size_t packed_matrix_bytes(int64_t rows, int64_t cols) {
  return size_t(tiles_of(rows, kRowTile) * kRowTile * cols * 2);
}

// MXFP4 [rows, cols] of one expert, packed: the codes, and separately the scales.
constexpr size_t packed_codes_bytes(int64_t rows, int64_t cols) {
  return size_t(tiles_of(rows, kRowTile) * tiles_of(cols, kExpertColTile) * kRowTile * kExpertColTile / 2);
}
constexpr size_t packed_scales_bytes(int64_t rows, int64_t cols) {
  return size_t(tiles_of(rows, kRowTile) * tiles_of(cols, kExpertColTile) * kRowTile * kExpertColTile / kMxBlock);
}

// The largest scale byte that the kernels decode: 2 * 2^(e - 127) must stay a bf16 factor of 2^-126 (experts.cu).
constexpr int kMaxScaleByte = 128;

// The rows that share a tile. Pairs that an epilogue needs together are rows r and r + 8: one lane holds both.
enum RowOrder {
  kRowsPlain = 0,
  kRowsRope = 1,    // a head's dims 8j + r and 32 + 8j + r
  kRowsGateUp = 2,  // rows 16j + 2r (gate) and 16j + 2r + 1 (up)
};

// --- attention -------------------------------------------------------------------------------------------------------

constexpr int kMaxSplits = 32;      // the most parts of the keys that one token sees
constexpr int kMinSplitPages = 4;   // 256 keys: one page for each of four warps
constexpr int kAttentionTile = 16;  // tokens that share their reads of keys and values in a long prefill

// The pages that a token at `position` sees, and the pages of one split. A function of the position alone, so that sums
// have the same order in every batch.
struct VisiblePages {
  int first, count;  // pages
  int split_pages;
  int splits;
};
OSS_FN constexpr VisiblePages visible_pages(int position, int window) {
  const int first_key = window > 0 && position >= window ? position - window + 1 : 0;
  const int first = first_key / kPageTokens, count = position / kPageTokens - first + 1;
  const int even = (count + kMaxSplits - 1) / kMaxSplits;
  const int split_pages = even > kMinSplitPages ? even : kMinSplitPages;
  return {first, count, split_pages, (count + split_pages - 1) / split_pages};
}

// Counters of completed splits: int32 [tokens, kv_heads].
constexpr size_t attention_counter_bytes(int64_t tokens, int64_t kv_heads) { return size_t(tokens * kv_heads * 4); }

// float32 [tokens, heads, kMaxSplits, head_dim + 2]: sums, largest score, sum of weights
constexpr size_t attention_scratch_bytes(int64_t tokens, int64_t heads) {
  return size_t(tokens * heads * kMaxSplits * (kHeadDim + 2) * 4);
}

// --- terms of adapters -----------------------------------------------------------------------------------------------

constexpr int kMostLowRank = 1024;  // of a term; the length of a row of sums

// float32 [rows, kMostLowRank] of A x: for every token those of q, k and v or of its experts, or for a row of logits.
constexpr size_t low_rank_sums_bytes(int64_t tokens, int64_t rows, int64_t top_k) {
  const int64_t of_tokens = tokens * (top_k > 3 ? top_k : 3);
  return size_t(of_tokens > rows ? of_tokens : rows) * kMostLowRank * 4;
}

// --- experts ---------------------------------------------------------------------------------------------------------

// The number of tokens of one expert that a block multiplies together in long steps.
constexpr int kExpertTokenTile = 64;

// The scratch memory of `experts` for steps of at most `tokens` tokens: pair lists, the activations of every (token,
// expert) pair in bf16 and its output in float32. Each part is aligned to 256 bytes.
struct ExpertsScratch {
  size_t done, lists, activations, outputs, bytes;  // offsets of the parts, and the total size
};
constexpr ExpertsScratch experts_scratch(int64_t tokens, int64_t top_k, int64_t experts, int64_t hidden,
                                         int64_t intermediate) {
  const auto aligned = [](int64_t bytes) { return (size_t(bytes) + 255) / 256 * 256; };
  const int64_t pairs = tokens * top_k;
  ExpertsScratch at{};
  at.done = 0;  // counters of few_experts: at the same place for every number of tokens
  // the begin of each expert's pairs, the pairs, and a work list (expert, first pair) of token tiles
  at.lists = at.done + aligned(tiles_of(hidden, kRowTile) * 4);
  at.activations = at.lists + aligned((experts + 1 + pairs + 2 * (pairs + 2)) * 4);
  at.outputs = at.activations + aligned(pairs * tiles_of(intermediate, kExpertColTile) * kExpertColTile * 2);
  at.bytes = at.outputs + aligned(pairs * hidden * 4);
  return at;
}

}  // namespace oss::cuda
