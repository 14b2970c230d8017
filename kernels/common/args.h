// Scalar arguments of every operation: the same structs for CPU, CUDA (passed by value) and Metal (setBytes).
// All counts in elements. "rows" are tokens unless said otherwise.
#pragma once
#include "kernels/common/lang.h"

namespace oss {

// The number of tokens in a page of the KV cache, for one layer. 64 keys of 64 floats are 16 KB: half of a 32 KB L1.
OSS_CONSTANT int kPageTokens = 64;

struct EmbedArgs {
  int tokens, hidden;
};

struct RmsNormArgs {
  int rows, hidden;
  float eps;
};

// y[rows, out] (=|+=) x[rows, in] · w[out, in]ᵀ + bias[out]
struct LinearArgs {
  int rows, in, out;
  int accumulate;   // 1: y += (the residual stream), 0: y =
  int precise = 0;  // 1: activations keep 16 bits, where rounding them costs much (router choice, logits)
};

struct RopeArgs {
  int tokens, heads, head_dim;
  int row_stride;  // elements between tokens
};

// The width of a head in both gpt-oss models. Tensor-core kernels are specialized for it.
OSS_CONSTANT int kHeadDim = 64;

// Layers with full attention and layers with a sliding window have separate pages. The latter free the pages that no
// query can see any more. So a page number is valid only within its group.
enum KvGroup { kKvFull = 0, kKvWindow = 1, kKvGroups = 2 };

// kKvFP8 is E4M3 without a scale: at most 448, three bits of mantissa.
enum KvType { kKvF32 = 0, kKvBF16 = 1, kKvFP8 = 2 };

OSS_FN constexpr int kv_element_bytes(KvType type) { return type == kKvF32 ? 4 : type == kKvBF16 ? 2 : 1; }

// The cache of one layer: [page][k, v][kv_head][kPageTokens][head_dim], elements of `type`
struct KvArgs {
  int kv_heads, head_dim;
  KvGroup group;
  KvType type;
};

// q[t] = rope(x[t] · Wqᵀ + bq); k and v likewise (v without rope) into the cache.
struct QkvArgs {
  int tokens, hidden, heads, kv_heads, head_dim;
  KvGroup group;
  KvType type;
};

struct AttentionArgs {
  int tokens, heads, kv_heads, head_dim;
  KvGroup group;
  KvType type;
  int window;     // keys a query sees, itself included; 0 = all
  int max_pages;  // row length of the block table
  float scale;    // 1/sqrt(head_dim)
};

struct RouterArgs {
  int tokens, experts, top_k;
};

struct ExpertsArgs {
  int tokens, hidden, intermediate, experts, top_k;
  float limit, alpha;  // of the clamped SwiGLU
};

// One row's sampling parameters, checked by lib/generation/sampling.ts. Neutral values: temperature 1, top_k 0, top_p
// 1, min_p 0, penalties 1, 0 and 0.
struct SamplingArgs {
  float temperature;  // 0 = greedy
  int top_k;          // 0 = off
  float top_p, min_p;
  unsigned seed_lo, seed_hi;
  unsigned position;  // counter of the random stream: the index of the token within the completion ...
  unsigned choice;    // ... and the index of the completion among several of one prompt
  float repetition_penalty, presence_penalty, frequency_penalty;
  int mask_reserved;  // 1: the reserved ids of o200k_harmony cannot be drawn
};

}  // namespace oss
