// The CPU kernels of one instruction set, as a table of functions. A kernel runs on the calling thread and computes the
// part of an operation that its range names. native/backend/cpu divides the work among threads.
//
// The order of computation of an element depends only on its row (length, position). It does not depend on the range,
// the other rows of the batch or the thread. So results repeat bit for bit.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "kernels/common/args.h"

namespace oss::cpu {

// Experts read activations with the even elements of each block of 32 before the odd ones, in the order of MXFP4's
// nibbles.
struct ExpertWeights {
  const uint8_t* blocks;  // [rows, cols/32, 16] of one expert
  const uint8_t* scales;  // [rows, cols/32]
  const float* bias;      // [rows]
};

// Rows in Q8 blocks (common/q8.h).
struct Q8Weights {
  const int8_t* codes;     // [rows, cols]
  const uint16_t* scales;  // [rows, cols/32]
};

// Chunks of this many pages are summed separately, then merged. They have fixed places in the sequence, so that threads
// can share a long one. With 1024 keys, a merge costs 1/500 of their time.
constexpr int kChunkPages = 16;

// Consecutive tokens of one sequence whose queries share one pass over a kv head's keys. Eight tokens of the 20b have
// 64 queries, 33 KB with their sums, in cache beside a page of 16 KB.
constexpr int kAttentionTokens = 8;

struct AttentionTask {
  int tokens;  // 1 .. kAttentionTokens, or the limit of a unit of bf16.h
  int kv_head;
  const float* q;            // [tokens, heads, head_dim]
  const int32_t* positions;  // [tokens], consecutive
  const int32_t* pages;      // [max_pages] of the sequence
  const void* cache;         // [page][k, v][kv_head][kPageTokens][head_dim] of AttentionArgs::type
};

// The softmax in progress, for each token and head of a task: Σ p·v [head_dim], then max and Σ p, then padding. Tiles
// have 16 rows; rows past the last are unused.
constexpr int attention_state_stride(const AttentionArgs& args) { return args.head_dim + 16; }
constexpr size_t attention_state_floats(const AttentionArgs& args, int tokens) {
  const int rows = tokens * (args.heads / args.kv_heads);
  return size_t((rows + 15) / 16 * 16) * size_t(attention_state_stride(args));
}
// The scores of one token's heads with a page, its transposed keys, and its values when they are widened.
constexpr size_t attention_work_floats(const AttentionArgs& args) {
  const int planes = args.type == kKvBF16 ? 2 : 1;
  return size_t(args.heads / args.kv_heads + planes * args.head_dim) * kPageTokens;
}
// The first key that a query sees.
constexpr int attention_first_key(const AttentionArgs& args, int position) {
  return args.window > 0 && position >= args.window ? position - args.window + 1 : 0;
}

// The number of logits in one block of sampling. A block is small enough to walk one by one, and large enough that one
// vector of work per block costs little.
constexpr int kSampleBlock = 128;

// What rounding changed in a block of 32 values.
struct Mxfp4Loss {
  float squares, error_squares;  // sums, in units of the block's scale: within 2^-19 of the exact ones
  float largest_error;           // absolute, exact
  int changed;                   // values
};

struct Kernels {
  const char* isa;

  void (*widen)(size_t n, const uint16_t* from, float* to);   // bf16 → f32
  void (*narrow)(size_t n, const float* from, uint16_t* to);  // f32 → bf16, to nearest, ties to even
  // bf16 → Q8. False when a block has no scale, because it contains a NaN, an infinity or too large a number.
  bool (*quantize_q8)(size_t num_blocks, const uint16_t* from, int8_t* codes, uint16_t* scales);
  void (*widen_q8)(size_t num_blocks, const int8_t* codes, const uint16_t* scales, float* to);
  void (*rms_norm)(const RmsNormArgs&, const float* x, const float* w, float* y);
  // Weight rows [begin, end) for all rows of x. bias may be null.
  void (*linear)(const LinearArgs&, int begin, int end, const float* x, const uint16_t* w, const float* bias, float* y);
  void (*linear_q8)(const LinearArgs&, int begin, int end, const float* x, const Q8Weights&, const float* bias,
                    float* y);
  void (*rope)(const RopeArgs&, const float* table, float* x);

  void (*attention_clear)(const AttentionArgs&, int tokens, float* state);
  // state = the task's softmax over the keys of one chunk.
  void (*attention_chunk)(const AttentionArgs&, const AttentionTask&, int chunk, float* work, float* state);
  void (*attention_merge)(const AttentionArgs&, int tokens, const float* chunk_state, float* state);
  // Adds the sinks, divides, and writes the task's rows of out [tokens, heads, head_dim].
  void (*attention_finish)(const AttentionArgs&, const AttentionTask&, const float* sinks, float* state, float* out);

  void (*router)(const RouterArgs&, const float* logits, int32_t* index, float* weight);
  void (*swiglu)(int n, float alpha, float limit, const float* gate, const float* up, float* y);
  void (*mxfp4_dequantize)(size_t num_blocks, const uint8_t* blocks, const uint8_t* scales, float* y);
  // f32 → MXFP4. Value i of block b is x[b · block_stride + i · value_stride]. loss may be null. False when a value is
  // an infinity or a NaN; the result of its block then has no meaning.
  bool (*quantize_mxfp4)(int count, const float* x, int block_stride, int value_stride, uint8_t* blocks,
                         uint8_t* scales, Mxfp4Loss* loss);

  // Even elements of each block of 32, then odd ones.
  void (*experts_split)(size_t n, const float* x, float* split);
  // For each pair p = token·top_k + k of `pairs`: act[p] [intermediate], split, elements [begin, end), multiples of 32.
  // added: for each of `pairs` a row [2·intermediate] that joins gate and up before SwiGLU, or null; null: no rows.
  void (*experts_gate_up)(const ExpertsArgs&, const ExpertWeights&, int begin, int end, const int32_t* pairs,
                          int num_pairs, const float* const* added, const float* x_split, float* act);
  // out[p] [hidden], elements [begin, end).
  void (*experts_down)(const ExpertsArgs&, const ExpertWeights&, int begin, int end, const int32_t* pairs,
                       int num_pairs, const float* act, float* out);
  // x[t] += Σ_k weight[t,k] · out[t·top_k + k], elements [begin, end).
  void (*experts_sum)(const ExpertsArgs&, int begin, int end, const float* weight, const float* out, float* x);

  // For each kSampleBlock logits (the last block may be shorter): the highest finite logit, +inf counting as the
  // largest float; -inf when there is none.
  void (*sample_highest)(int n, const float* logits, float* highest);
  // ... the sum of 2^((logit - top) · scale) over the logits with lowest <= logit <= top. The exponent must not be
  // below -1022.
  void (*sample_weights)(int n, const float* logits, double top, double scale, double lowest, double* sum);

  // The roof of products: so many rounds of multiplications and additions in registers. Returns their number.
  const char* peak_instruction;
  double (*peak)(int64_t rounds);
};

}  // namespace oss::cpu
