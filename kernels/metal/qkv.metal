// QKV:  q = rope(x · Wqᵀ + bq) of every head, k likewise and v without rope of every kv_head
//   rope:  with a = dim i < 32 and b = dim i + 32      a' = a·cos[i] - b·sin[i]      b' = b·cos[i] + a·sin[i]
//   x  [tokens, hidden]  bf16      w  [q, k, v]  bf16 rows, aligned to 8 bytes, or Q8 (dense_rows.h)
//   bias  [q, k, v]  f32
//   q  [tokens, heads * 64]  bf16      cache  [page][k, v][kv_head][kPageTokens][64]  bf16 or e4m3
//
// Traffic: 29.5 MB of weights, once, for up to eight tokens (qkv_rows_N, see few_rows.h); else once per tile of tokens
// (qkv_tiles_N, see dense_tiles.h). One threadgroup has both halves of each pair of dims, so it can rotate them. A tile
// is as wide as a head. ..._q8: of matrices in Q8, with 15.7 MB. ..._terms add the terms of adapters before the
// rotation.
#include "kernels/metal/qkv.h"

#include "kernels/common/dtype.h"
#include "kernels/metal/dense_tiles.h"
#include "kernels/metal/few_rows.h"
#include "kernels/metal/lang.h"
#include "kernels/metal/low_rank_terms.h"

using namespace oss;

static_assert(kTileOutputs == kHeadDim, "a tile is a head");

// The matrix and the place of a head: those of q come first, then k, then v.
template <typename Weights>
struct QkvHead {
  Weights w;
  DevicePtr<const float> bias;
  int matrix, within;  // 0: q, 1: k, 2: v; the head's number in there
  int number;          // among all
};

template <typename Weights>
struct QkvWeights {
  Weights q, k, v;
  DevicePtr<const float> q_bias, k_bias, v_bias;
};

template <typename Weights>
static inline QkvHead<Weights> head_of(constant QkvLaunch& args, QkvWeights<Weights> weights, int group) {
  const int number = args.first_head + group;
  QkvHead<Weights> head = {weights.q, weights.q_bias, 0, number, number};
  if (number >= args.heads + args.kv_heads) {
    head.w = weights.v;
    head.bias = weights.v_bias;
    head.matrix = 2;
    head.within = number - args.heads - args.kv_heads;
  } else if (number >= args.heads) {
    head.w = weights.k;
    head.bias = weights.k_bias;
    head.matrix = 1;
    head.within = number - args.heads;
  }
  return head;
}

struct QkvResults {
  DevicePtr<const int> positions, sequence, block_table;
  DevicePtr<const float> rope;
  DevicePtr<ushort> q, cache;
};

// Rotates dims `dim` and dim + 32 of a head, unless it is of v, and stores them.
template <typename Weights>
static inline void store_pair(constant QkvLaunch& args, QkvResults to, QkvHead<Weights> head, int token, int dim,
                              float a, float b) {
  float low = a, high = b;
  if (head.matrix != 2) {
    const DevicePtr<const float> angle = to.rope + ulong(token) * kHeadDim;
    const float cosine = angle[dim], sine = angle[kHalfHead + dim];
    low = fma(a, cosine, -(b * sine));
    high = fma(b, cosine, a * sine);
  }
  if (head.matrix == 0) {
    const ulong at = (ulong(token) * ulong(args.heads) + ulong(head.within)) * kHeadDim + ulong(dim);
    to.q[at] = f32_to_bf16(low);
    to.q[at + kHalfHead] = f32_to_bf16(high);
    return;
  }
  const int position = to.positions[token];
  const int page = to.block_table[ulong(to.sequence[token]) * ulong(args.max_pages) + ulong(position / kPageTokens)];
  const ulong plane = (ulong(page) * 2 + ulong(head.matrix - 1)) * ulong(args.kv_heads) + ulong(head.within);
  const ulong at = (plane * kPageTokens + ulong(position % kPageTokens)) * kHeadDim + ulong(dim);
  if (args.fp8 != 0) {
    const DevicePtr<uchar> bytes = as<uchar>(to.cache);
    bytes[at] = f32_to_e4m3(low);
    bytes[at + kHalfHead] = f32_to_e4m3(high);
  } else {
    to.cache[at] = f32_to_bf16(low);
    to.cache[at + kHalfHead] = f32_to_bf16(high);
  }
}

// `first`: the first of the kOutputs / 2 pairs of dims.
template <int kRows, int kOutputs, typename Weights, typename Terms>
static inline void qkv_rows(constant QkvLaunch& args, DevicePtr<const ushort> x, QkvHead<Weights> head, Terms terms,
                            QkvResults to, ThreadgroupPtr<float> parts, int first, uint index, uint lane,
                            uint simdgroup) {
  constexpr int kPairs = kOutputs / 2;
  const int row_of_w = head.within * kHeadDim + first;
  few_rows<kRows, kOutputs, kPairs, false>(x, x, args.tokens, head.w, row_of_w, (head.within + 1) * kHeadDim - 1,
                                           args.hidden, parts, index, lane, simdgroup);
  const int token = int(index) / kPairs, pair = int(index) % kPairs;
  if (token >= kRows || token >= args.tokens) return;
  const float a = few_rows_sum<kRows, kOutputs>(parts, token, pair) + head.bias[row_of_w + pair];
  const float b = few_rows_sum<kRows, kOutputs>(parts, token, kPairs + pair) + head.bias[row_of_w + kHalfHead + pair];
  const int output = head.number * kHeadDim + first + pair;
  store_pair(args, to, head, token, first + pair, terms.add(a, token, output), terms.add(b, token, output + kHalfHead));
}

template <int kRows, typename Weights, typename Terms>
static inline void qkv_tiles(constant QkvLaunch& args, DevicePtr<const ushort> x, QkvHead<Weights> head, Terms terms,
                             QkvResults to, ThreadgroupPtr<uint2> memory, int first_token, uint index, uint simdgroup) {
  const int row_of_w = head.within * kHeadDim;
  const TileSource<Weights> from = {
      x, x, head.w, first_token, args.tokens - 1, row_of_w, row_of_w + kHeadDim - 1, args.hidden};
  multiply_tile<kRows, false>(from, head.bias, true, memory, index, simdgroup);
  const ThreadgroupPtr<float> sums = as<float>(memory);
  for (int i = int(index); i < kRows * kHalfHead; i += kTileThreads) {
    const int r = i / kHalfHead, dim = i % kHalfHead;
    if (first_token + r >= args.tokens) continue;
    const int token = first_token + r, output = head.number * kHeadDim + dim;
    store_pair(args, to, head, token, dim, terms.add(sums[r * kSumStride + dim], token, output),
               terms.add(sums[r * kSumStride + kHalfHead + dim], token, output + kHalfHead));
  }
}

#define OSS_QKV_PARAMETERS                                                                         \
  constant QkvLaunch& args [[buffer(0)]], DevicePtr<const ushort> x [[buffer(1)]],                 \
      DevicePtr<const ushort> q_w [[buffer(2)]], DevicePtr<const ushort> k_w [[buffer(3)]],        \
      DevicePtr<const ushort> v_w [[buffer(4)]], DevicePtr<const float> q_bias [[buffer(5)]],      \
      DevicePtr<const float> k_bias [[buffer(6)]], DevicePtr<const float> v_bias [[buffer(7)]],    \
      DevicePtr<const int> positions [[buffer(8)]], DevicePtr<const int> sequence [[buffer(9)]],   \
      DevicePtr<const int> block_table [[buffer(10)]], DevicePtr<const float> rope [[buffer(11)]], \
      DevicePtr<ushort> q [[buffer(12)]], DevicePtr<ushort> cache [[buffer(13)]]
#define OSS_QKV_TERMS DevicePtr<const int> place [[buffer(14)]], DevicePtr<const float> of_adapters [[buffer(15)]]
#define OSS_QKV_Q8_PARAMETERS                                                                       \
  constant QkvLaunch& args [[buffer(0)]], DevicePtr<const ushort> x [[buffer(1)]],                  \
      DevicePtr<const uchar> q_codes [[buffer(2)]], DevicePtr<const uchar> k_codes [[buffer(3)]],   \
      DevicePtr<const uchar> v_codes [[buffer(4)]], DevicePtr<const float> q_bias [[buffer(5)]],    \
      DevicePtr<const float> k_bias [[buffer(6)]], DevicePtr<const float> v_bias [[buffer(7)]],     \
      DevicePtr<const int> positions [[buffer(8)]], DevicePtr<const int> sequence [[buffer(9)]],    \
      DevicePtr<const int> block_table [[buffer(10)]], DevicePtr<const float> rope [[buffer(11)]],  \
      DevicePtr<ushort> q [[buffer(12)]], DevicePtr<ushort> cache [[buffer(13)]],                   \
      DevicePtr<const half> q_scales [[buffer(14)]], DevicePtr<const half> k_scales [[buffer(15)]], \
      DevicePtr<const half> v_scales [[buffer(16)]]
#define OSS_QKV_Q8_TERMS DevicePtr<const int> place [[buffer(17)]], DevicePtr<const float> of_adapters [[buffer(18)]]

#define OSS_QKV_WEIGHTS {{q_w}, {k_w}, {v_w}, q_bias, k_bias, v_bias}
#define OSS_QKV_Q8_WEIGHTS {{q_codes, q_scales}, {k_codes, k_scales}, {v_codes, v_scales}, q_bias, k_bias, v_bias}

#define OSS_QKV_ROWS(rows)                                                                                   \
  OSS_THREADGROUP(float, parts, OSS_FEW_PARTS(rows, few_rows_outputs(rows)));                                \
  qkv_rows<rows, few_rows_outputs(rows)>(args, x, head_of(args, weights, int(group.y)), terms, to, parts,    \
                                         int(group.x) * few_rows_outputs(rows) / 2, index, lane, simdgroup);
#define OSS_QKV_TILES(rows)                                                                                     \
  OSS_THREADGROUP(uint2, memory, OSS_TILE_MEMORY(rows));                                                        \
  qkv_tiles<rows>(args, x, head_of(args, weights, int(group.y)), terms, to, memory, int(group.x) * rows, index, \
                  simdgroup);
#define OSS_QKV_Q8_TILES(rows)                                                                                  \
  OSS_THREADGROUP(uint2, memory, OSS_Q8_TILE_MEMORY(rows));                                                     \
  qkv_tiles<rows>(args, x, head_of(args, weights, int(group.y)), terms, to, memory, int(group.x) * rows, index, \
                  simdgroup);

// A kernel, and the one that adds the terms of adapters.
#define OSS_QKV_KERNELS(name, body, rows, parameters, of_terms, kind, matrices)                      \
  kernel void name(parameters, OSS_POSITION) {                                                       \
    const QkvWeights<kind> weights = matrices;                                                       \
    const QkvResults to = {positions, sequence, block_table, rope, q, cache};                        \
    const NoTerms terms = {};                                                                        \
    body(rows)                                                                                       \
  }                                                                                                  \
  OSS_KERNEL(name)                                                                                   \
  kernel void name##_terms(parameters, of_terms, OSS_POSITION) {                                     \
    const QkvWeights<kind> weights = matrices;                                                       \
    const QkvResults to = {positions, sequence, block_table, rope, q, cache};                        \
    const AdapterTerms terms = {place, of_adapters, 1, (args.heads + 2 * args.kv_heads) * kHeadDim}; \
    body(rows)                                                                                       \
  }                                                                                                  \
  OSS_KERNEL(name##_terms)
#define OSS_QKV_BF16(name, body, rows)                                                            \
  OSS_QKV_KERNELS(name, body, rows, OSS_QKV_PARAMETERS, OSS_QKV_TERMS, Bf16Rows, OSS_QKV_WEIGHTS)
#define OSS_QKV_Q8(name, body, rows)                                                                     \
  OSS_QKV_KERNELS(name, body, rows, OSS_QKV_Q8_PARAMETERS, OSS_QKV_Q8_TERMS, Q8Rows, OSS_QKV_Q8_WEIGHTS)
OSS_QKV_BF16(qkv_rows_1, OSS_QKV_ROWS, 1)
OSS_QKV_BF16(qkv_rows_2, OSS_QKV_ROWS, 2)
OSS_QKV_BF16(qkv_rows_4, OSS_QKV_ROWS, 4)
OSS_QKV_BF16(qkv_rows_8, OSS_QKV_ROWS, 8)
OSS_QKV_BF16(qkv_tiles_16, OSS_QKV_TILES, kSmallTileRows)
OSS_QKV_BF16(qkv_tiles_32, OSS_QKV_TILES, kTileRows)
OSS_QKV_Q8(qkv_rows_1_q8, OSS_QKV_ROWS, 1)
OSS_QKV_Q8(qkv_rows_2_q8, OSS_QKV_ROWS, 2)
OSS_QKV_Q8(qkv_rows_4_q8, OSS_QKV_ROWS, 4)
OSS_QKV_Q8(qkv_rows_8_q8, OSS_QKV_ROWS, 8)
OSS_QKV_Q8(qkv_tiles_16_q8, OSS_QKV_Q8_TILES, kSmallTileRows)
OSS_QKV_Q8(qkv_tiles_32_q8, OSS_QKV_Q8_TILES, kTileRows)
