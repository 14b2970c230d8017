// Attention:  out[t,h] = Σ_j p[t,h,j] · v[j]      p = softmax of scale · q[t,h]·k[j] over the visible keys j, with the
// sink of h as one more score without a value. A token at position p sees the keys max(0, p - window + 1) .. p.
//   q, out   [tokens, heads, 64]  bf16      query head h reads kv head h / group, group = heads / kv_heads
//   cache    [page][k, v][kv_head][64 keys][64]  bf16 or e4m3      sinks  [heads] f32
//   scratch  [singles, heads, splits, 64 + 2]  f32: Σ p·v, the largest score, Σ p, of one part of the keys
//
// Scores are in units of ln 2, so that a probability is one exp2: `factor` = scale · log2(e), and a sink enters as sink
// · log2(e).
//
// Single tokens (decode) are bound by memory: 4 · 64 · keys · kv_heads bytes per token in bf16, half of it in e4m3. A
// threadgroup has one token, kv head and part of the keys. It reads keys and values once for 8 query heads: 4 fused
// multiply-adds per byte. Where a token's keys are cut into several parts, a second kernel merges them.
//
// Tokens in tiles (prefill) are bound by arithmetic: 128 rows of queries share a block of keys, and multiply as
// matrices of 8 x 8.
#include "kernels/metal/attention.h"

#include "kernels/common/dtype.h"
#include "kernels/common/softmax.h"
#include "kernels/metal/lang.h"

using namespace oss;

// Below every score, and finite: before the first visible key, the maximum minus itself must be 0, not NaN.
OSS_CONSTANT float kNoMax = -1e30f;

OSS_CONSTANT int kPlane = kPageTokens * kHeadDim;  // elements of one head's keys, or values, in a page
OSS_CONSTANT int kSimdgroups = kAttentionThreads / 32;

// --- elements --------------------------------------------------------------------------------------------------------

static inline float4 widen_bf16(uint2 four) {
  return as_type<float4>(uint4(four.x << 16, four.x & 0xFFFF0000u, four.y << 16, four.y & 0xFFFF0000u));
}

static inline uint pack_bf16(float low, float high) { return uint(f32_to_bf16(low)) | uint(f32_to_bf16(high)) << 16; }

// Four e4m3. Exponent and mantissa move to their places in half, which gives values 2^8 too small; subnormals stay
// subnormal, which half numbers keep. (NaN becomes 480. The cache has a NaN only where the query of the same token has
// one too.)
static inline float4 widen_e4m3(uint four) {
  const uint low = (four & 0xFFu) << 8 | (four & 0xFF00u) << 16;  // each in the upper byte of its half
  const uint high = (four >> 8 & 0xFF00u) | (four & 0xFF000000u);
  const uint2 bits =
      uint2((low & 0x80008000u) | (low >> 1 & 0x3F803F80u), (high & 0x80008000u) | (high >> 1 & 0x3F803F80u));
  return float4(as_type<half4>(bits)) * 256.0f;
}

// Four elements of the cache as they are stored; `at` is a multiple of 4.
template <int kType>
static inline uint2 load_four(DevicePtr<const uchar> cache, ulong at) {
  if (kType == kKvFP8) return uint2(*as_const<uint>(cache + at), 0u);
  return *as_const<uint2>(cache + at * 2);
}
template <int kType>
static inline float4 widen_four(uint2 stored) {
  return kType == kKvFP8 ? widen_e4m3(stored.x) : widen_bf16(stored);
}

// Index of the first key element of a kv head in a page; its values are kv_heads planes further.
static inline ulong keys_of(constant AttentionLaunch& args, int page, int kv_head) {
  return (ulong(page) * 2 * ulong(args.kv_heads) + ulong(kv_head)) * kPlane;
}

// --- softmax ---------------------------------------------------------------------------------------------------------

// A part that is merged with nothing must keep its bits. So the result for 0 does not depend on the library.
struct AttentionExp2 {
  float operator()(float value) const { return value == 0.0f ? 1.0f : precise::exp2(value); }
};

// The final factor for Σ p·v: the sink joins the sum of probabilities.
static inline float finish_factor(SoftmaxPart part, float sink) {
  const SoftmaxMerged merged = softmax_merge(part, SoftmaxPart{sink * kLog2E, 1.0f}, AttentionExp2());
  return merged.scale_a / merged.part.sum;
}

// --- single tokens ---------------------------------------------------------------------------------------------------
//
// A simdgroup takes 8 keys of each page. Lane l holds dims 4·(l % 16).. of every row that it reads, so that 32 lanes
// read two adjacent rows at once: keys 2i + l / 16 for i = 0 .. 3. It has the queries of 8 heads and the sums of 8
// heads over its own keys, 64 registers. After a product with the keys, fold() leaves each lane with the score of one
// head and key, so that each probability is computed once. Each simdgroup has a softmax of its own until the end.

OSS_CONSTANT int kStepKeys = 8;

struct HeadRows {
  float4 of[kAttentionHeads];
};
struct Products {
  float of[2 * kAttentionHeads];  // of two keys: [key, head]
};

// Sums over the 16 lanes of a row. Each step halves the values that a lane still has. In the end lane l has that of head
// l % 8, and of key l / 8 % 2.
template <int kWidth>
static inline Products fold_step(Products all, uint lane) {
  const bool upper = (int(lane) & kWidth) != 0;
#pragma unroll
  for (int i = 0; i < kWidth; ++i) {
    const float mine = upper ? all.of[i + kWidth] : all.of[i], theirs = upper ? all.of[i] : all.of[i + kWidth];
    all.of[i] = mine + simd_shuffle_xor(theirs, ushort(kWidth));
  }
  return all;
}
static inline float fold(Products all, uint lane) {
  all = fold_step<8>(all, lane);
  all = fold_step<4>(all, lane);
  all = fold_step<2>(all, lane);
  return fold_step<1>(all, lane).of[0];
}

// The products of two rows of keys, of this lane's dims, with all heads.
static inline Products multiply_keys(HeadRows queries, float4 a, float4 b) {
  Products products;
#pragma unroll
  for (int h = 0; h < kAttentionHeads; ++h) {
    products.of[h] = dot(queries.of[h], a);
    products.of[kAttentionHeads + h] = dot(queries.of[h], b);
  }
  return products;
}

template <int kType>
static inline void attend_single(constant AttentionLaunch& args, DevicePtr<const int> singles,
                                 DevicePtr<const int> positions, DevicePtr<const int> sequence,
                                 DevicePtr<const int> table, DevicePtr<const ushort> q, DevicePtr<const uchar> cache,
                                 DevicePtr<const float> sinks, DevicePtr<float> scratch, DevicePtr<ushort> out,
                                 ThreadgroupPtr<float4> merge, ThreadgroupPtr<float2> merge_parts, uint3 group,
                                 uint lane, uint simdgroup) {
  const int token = singles[group.x], position = positions[token], split = int(group.z);
  const VisiblePages visible = visible_pages(position, args.window);
  if (split >= visible.splits) return;

  const int heads = args.heads / args.kv_heads;  // of this kv head; here are 8 of them at most
  const int chunks = (heads + kAttentionHeads - 1) / kAttentionHeads;
  const int kv_head = int(group.y) / chunks, first_head = int(group.y) % chunks * kAttentionHeads;
  const int first_row = token * args.heads + kv_head * heads;  // row in q and out
  const int first_key = first_visible_key(position, args.window);
  const int first_page = visible.first + split * visible.split_pages;
  const int end_page = min(first_page + visible.split_pages, visible.first + visible.count);
  const DevicePtr<const int> pages = table + ulong(sequence[token]) * ulong(args.max_pages);
  const int half_row = int(lane) / 16, quad = int(lane) % 16;

  // A head that is not there repeats the last one, and is not written.
  HeadRows queries, sums;
#pragma unroll
  for (int h = 0; h < kAttentionHeads; ++h) {
    const ulong row = ulong(first_row + min(first_head + h, heads - 1));
    queries.of[h] = widen_bf16(as_const<uint2>(q + row * kHeadDim)[quad]);
    sums.of[h] = float4(0.0f);
  }
  float most = kNoMax, total = 0;  // of head lane % 8; the total of this lane's keys only

  int next_page = pages[first_page];
  for (int page = first_page; page < end_page; ++page) {
    const int here = next_page;
    if (page + 1 < end_page) next_page = pages[page + 1];
    const int base = page * kPageTokens + int(simdgroup) * kStepKeys;
    if (base + kStepKeys <= first_key || base > position) continue;

    // A hidden key is not read, because its memory may hold anything. A visible one of the same 8 is read in its place,
    // so that the loads need no branch; its probability is 0.
    const int first = max(first_key - base, 0), last = min(position - base, kStepKeys - 1);
    const ulong keys_at = keys_of(args, here, kv_head) + ulong(int(simdgroup) * kStepKeys * kHeadDim + quad * 4);
    const ulong values_at = keys_at + ulong(args.kv_heads) * kPlane;
    uint2 keys[kStepKeys / 2], values[kStepKeys / 2];
#pragma unroll
    for (int i = 0; i < kStepKeys / 2; ++i) {
      const ulong row = ulong(clamp(2 * i + half_row, first, last) * kHeadDim);
      keys[i] = load_four<kType>(cache, keys_at + row);
      values[i] = load_four<kType>(cache, values_at + row);
    }

    // This lane's scores: of two keys.
    const int mine = int(lane) / 8 % 2 * 2 + half_row;
    float score_a = fold(multiply_keys(queries, widen_four<kType>(keys[0]), widen_four<kType>(keys[1])), lane);
    float score_b = fold(multiply_keys(queries, widen_four<kType>(keys[2]), widen_four<kType>(keys[3])), lane);
    score_a = mine >= first && mine <= last ? score_a * args.factor : -INFINITY;
    score_b = mine + 4 >= first && mine + 4 <= last ? score_b * args.factor : -INFINITY;

    float largest = max(score_a, score_b);  // then over the four lanes of a head
    largest = max(largest, simd_shuffle_xor(largest, ushort(8)));
    largest = max(largest, simd_shuffle_xor(largest, ushort(16)));
    largest = max(largest, most);
    const float rescale = precise::exp2(most - largest);
    const float p_a = precise::exp2(score_a - largest), p_b = precise::exp2(score_b - largest);
    if (simd_any(largest != most)) {
#pragma unroll
      for (int h = 0; h < kAttentionHeads; ++h) sums.of[h] *= float4(simd_shuffle(rescale, ushort(h)));
      total *= rescale;
      most = largest;
    }
    total += p_a + p_b;

#pragma unroll
    for (int i = 0; i < kStepKeys / 2; ++i) {
      const float4 value = widen_four<kType>(values[i]);
#pragma unroll
      for (int h = 0; h < kAttentionHeads; ++h) {
        const float p = simd_shuffle(i < 2 ? p_a : p_b, ushort(half_row * 16 + i % 2 * 8 + h));
        sums.of[h] = fma(float4(p), value, sums.of[h]);
      }
    }
  }

  // Every simdgroup stores its part of each head; without a visible key it is kNoMax and zeros. Lanes l and l + 16 have
  // the same dims: each of the two adds four heads.
  total += simd_shuffle_xor(total, ushort(8));
  total += simd_shuffle_xor(total, ushort(16));
  if (lane < uint(kAttentionHeads)) merge_parts[int(simdgroup) * kAttentionHeads + int(lane)] = float2(most, total);
#pragma unroll
  for (int h = 0; h < kAttentionHeads / 2; ++h) {
    const float4 low = sums.of[h], high = sums.of[h + kAttentionHeads / 2];
    const float4 both = (half_row != 0 ? high : low) + simd_shuffle_xor(half_row != 0 ? low : high, ushort(16));
    merge[(int(simdgroup) * kAttentionHeads + half_row * (kAttentionHeads / 2) + h) * (kHeadDim / 4) + quad] = both;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);

  // Then each simdgroup merges one head, in the order of the simdgroups; each lane has two dims.
  const int head = first_head + int(simdgroup);
  if (head >= heads) return;
  SoftmaxPart part = {kNoMax, 0};
#pragma unroll
  for (int s = 0; s < kSimdgroups; ++s) part.max = max(part.max, merge_parts[s * kAttentionHeads + int(simdgroup)].x);
  float2 sum = float2(0.0f);
#pragma unroll
  for (int s = 0; s < kSimdgroups; ++s) {
    const int from = s * kAttentionHeads + int(simdgroup);
    const float scale = precise::exp2(merge_parts[from].x - part.max);
    part.sum = fma(scale, merge_parts[from].y, part.sum);
    sum = fma(float2(scale), as<float2>(merge)[from * (kHeadDim / 2) + int(lane)], sum);
  }
  if (args.splits == 1) {
    const float scale = finish_factor(part, sinks[kv_head * heads + head]);
    as<uint>(out + ulong(first_row + head) * kHeadDim)[lane] = pack_bf16(sum.x * scale, sum.y * scale);
    return;
  }
  const ulong of_head = ulong(group.x) * ulong(args.heads) + ulong(kv_head * heads + head);
  const DevicePtr<float2> to = as<float2>(scratch + (of_head * ulong(args.splits) + ulong(split)) * kAttentionPart);
  to[lane] = sum;
  if (lane == 0) to[kHeadDim / 2] = float2(part.max, part.sum);
}

// One threadgroup per single token, 8 query heads of a kv head, and part of the keys.
kernel void attention_single_bf16(constant AttentionLaunch& args [[buffer(0)]],
                                  DevicePtr<const int> singles [[buffer(1)]],
                                  DevicePtr<const int> positions [[buffer(2)]],
                                  DevicePtr<const int> sequence [[buffer(3)]], DevicePtr<const int> table [[buffer(4)]],
                                  DevicePtr<const ushort> q [[buffer(5)]], DevicePtr<const uchar> cache [[buffer(6)]],
                                  DevicePtr<const float> sinks [[buffer(7)]], DevicePtr<float> scratch [[buffer(8)]],
                                  DevicePtr<ushort> out [[buffer(9)]], OSS_POSITION) {
  OSS_THREADGROUP(float4, merge, kSimdgroups * kAttentionHeads * kHeadDim / 4);
  OSS_THREADGROUP(float2, merge_parts, kSimdgroups * kAttentionHeads);
  attend_single<kKvBF16>(args, singles, positions, sequence, table, q, cache, sinks, scratch, out, merge, merge_parts,
                         group, lane, simdgroup);
}
OSS_KERNEL(attention_single_bf16)

kernel void attention_single_fp8(constant AttentionLaunch& args [[buffer(0)]],
                                 DevicePtr<const int> singles [[buffer(1)]],
                                 DevicePtr<const int> positions [[buffer(2)]],
                                 DevicePtr<const int> sequence [[buffer(3)]], DevicePtr<const int> table [[buffer(4)]],
                                 DevicePtr<const ushort> q [[buffer(5)]], DevicePtr<const uchar> cache [[buffer(6)]],
                                 DevicePtr<const float> sinks [[buffer(7)]], DevicePtr<float> scratch [[buffer(8)]],
                                 DevicePtr<ushort> out [[buffer(9)]], OSS_POSITION) {
  OSS_THREADGROUP(float4, merge, kSimdgroups * kAttentionHeads * kHeadDim / 4);
  OSS_THREADGROUP(float2, merge_parts, kSimdgroups * kAttentionHeads);
  attend_single<kKvFP8>(args, singles, positions, sequence, table, q, cache, sinks, scratch, out, merge, merge_parts,
                        group, lane, simdgroup);
}
OSS_KERNEL(attention_single_fp8)

// Merges the parts of a single token, in their order, and adds the sink. One simdgroup per token and head. Each lane
// computes the weight of one part, and then has two dims.
static_assert(kMaxSplits <= 32, "a lane per part");
kernel void attention_merge(constant AttentionLaunch& args [[buffer(0)]], DevicePtr<const int> singles [[buffer(1)]],
                            DevicePtr<const int> positions [[buffer(2)]], DevicePtr<const float> scratch [[buffer(3)]],
                            DevicePtr<const float> sinks [[buffer(4)]], DevicePtr<ushort> out [[buffer(5)]],
                            OSS_POSITION) {
  const int head = int(group.y) * kSimdgroups + int(simdgroup), token = singles[group.x];
  if (head >= args.heads) return;
  const int splits = visible_pages(positions[token], args.window).splits;
  const ulong of_head = ulong(group.x) * ulong(args.heads) + ulong(head);
  const DevicePtr<const float2> parts = as_const<float2>(scratch + of_head * ulong(args.splits) * kAttentionPart);
  constexpr int kStride = kAttentionPart / 2;
  float2 mine = float2(kNoMax, 0.0f);
  if (int(lane) < splits) mine = parts[int(lane) * kStride + kHeadDim / 2];
  const float most = simd_max(mine.x), weight = AttentionExp2()(mine.x - most), total = simd_sum(weight * mine.y);
  float2 sum = parts[lane] * float2(simd_shuffle(weight, ushort(0)));
  for (int split = 1; split < splits; ++split) {
    sum = fma(float2(simd_shuffle(weight, ushort(split))), parts[split * kStride + int(lane)], sum);
  }
  const float scale = finish_factor(SoftmaxPart{most, total}, sinks[head]);
  as<uint>(out + (ulong(token) * ulong(args.heads) + ulong(head)) * kHeadDim)[lane] =
      pack_bf16(sum.x * scale, sum.y * scale);
}
OSS_KERNEL(attention_merge)

// --- tiles -----------------------------------------------------------------------------------------------------------
//
// A threadgroup has a tile, a kv head and 128 rows of queries: row r is token r / group and head r % group. Keys and
// values go through threadgroup memory, 32 at a time, as bf16. A simdgroup has 16 rows as two bands of 8, so that each
// matrix of keys or values that it loads is multiplied twice. Queries and sums stay in registers: 16 matrices each.
//
// Only loads and stores of whole matrices are documented. So scores pass through threadgroup memory, where a lane has 8
// scores of one row, and return as probabilities in bf16. The sums are rescaled by a product with a diagonal matrix.
// One band after the other uses the simdgroup's 8 x 36 floats. All of it takes 20 KB.

OSS_CONSTANT int kBlockKeys = 32;
OSS_CONSTANT int kBands = 2;
OSS_CONSTANT int kKeyTiles = kBlockKeys / 8, kDimTiles = kHeadDim / 8;
OSS_CONSTANT int kBlockRow = kHeadDim + 8;    // bf16; the rest keeps rows in different banks
OSS_CONSTANT int kScoreRow = kBlockKeys + 4;  // floats, likewise
OSS_CONSTANT int kQuads = kBlockKeys * 2 * (kHeadDim / 4) / kAttentionThreads;  // groups of 4 elements of a thread
static_assert(kPageTokens % kBlockKeys == 0, "a block lies in one page");
static_assert(kBands * 8 * kSimdgroups == kAttentionRows, "a simdgroup's rows");
static_assert(kScoreRow * 2 == kBlockRow, "a band of queries, or of probabilities, fits its scores' memory");

struct Quads {
  uint2 of[kQuads];
};

// This thread's part of the keys and values from `base` on. In place of a key that no token sees, a visible one of the
// block: its probability is 0, but the memory of a hidden one may hold anything, and 0 times a NaN is NaN.
template <int kType>
static inline Quads load_block(constant AttentionLaunch& args, DevicePtr<const int> pages, DevicePtr<const uchar> cache,
                               int kv_head, int base, int first_key, int last_key, uint index) {
  const int first = max(first_key - base, 0), last = min(last_key - base, kBlockKeys - 1);
  const ulong keys_at = keys_of(args, pages[base / kPageTokens], kv_head) + ulong(base % kPageTokens * kHeadDim);
  const ulong values_at = keys_at + ulong(args.kv_heads) * kPlane;
  Quads block;
#pragma unroll
  for (int i = 0; i < kQuads; ++i) {
    const int quad = i % (kQuads / 2) * kAttentionThreads + int(index), key = quad / (kHeadDim / 4);
    const ulong at = ulong(clamp(key, first, last) * kHeadDim + quad % (kHeadDim / 4) * 4);
    block.of[i] = load_four<kType>(cache, (i < kQuads / 2 ? keys_at : values_at) + at);
  }
  return block;
}

// Stores it as bf16, which holds every e4m3 exactly.
template <int kType>
static inline void store_block(Quads block, ThreadgroupPtr<uint2> keys, ThreadgroupPtr<uint2> values, uint index) {
#pragma unroll
  for (int i = 0; i < kQuads; ++i) {
    const int quad = i % (kQuads / 2) * kAttentionThreads + int(index);
    uint2 four = block.of[i];
    if (kType == kKvFP8) {
      const uint4 wide = as_type<uint4>(widen_e4m3(four.x));
      four = uint2(wide.x >> 16 | (wide.y & 0xFFFF0000u), wide.z >> 16 | (wide.w & 0xFFFF0000u));
    }
    (i < kQuads / 2 ? keys : values)[quad / (kHeadDim / 4) * (kBlockRow / 4) + quad % (kHeadDim / 4)] = four;
  }
}

template <int kType>
static inline void attend_tile(constant AttentionLaunch& args, DevicePtr<const AttentionTile> tiles,
                               DevicePtr<const int> positions, DevicePtr<const int> sequence,
                               DevicePtr<const int> table, DevicePtr<const ushort> q, DevicePtr<const uchar> cache,
                               DevicePtr<const float> sinks, DevicePtr<ushort> out, ThreadgroupPtr<uint2> keys,
                               ThreadgroupPtr<uint2> values, ThreadgroupPtr<float4> all_scores,
                               ThreadgroupPtr<float> all_diagonals, int tile_index, uint3 group, uint index, uint lane,
                               uint simdgroup) {
  const int tile_first = tiles[tile_index].first, tile_tokens = tiles[tile_index].tokens;
  const int heads = args.heads / args.kv_heads, kv_head = int(group.y);
  const int tile_rows = tile_tokens * heads, group_row = int(group.z) * kAttentionRows;
  if (group_row >= tile_rows) return;
  const DevicePtr<const int> pages = table + ulong(sequence[tile_first]) * ulong(args.max_pages);

  // Positions within a tile are consecutive.
  const int first_position = positions[tile_first], last_position = first_position + tile_tokens - 1;
  const int first_key = first_visible_key(first_position, args.window);  // the first key that any of them sees
  const int all_see_from = first_visible_key(last_position, args.window);

  const ThreadgroupPtr<float4> scores = all_scores + int(simdgroup) * 8 * (kScoreRow / 4);
  const ThreadgroupPtr<float> diagonal = all_diagonals + int(simdgroup) * 64;
  const int row = int(lane) / 4, part = int(lane) % 4;  // this lane's row in a band, and its 8 of 32 columns

  // A row past the tile's last token repeats that token, and is not written.
  int position[kBands], at[kBands];  // of this lane's rows: the latter in q and out [tokens · heads, 64]
  const int simdgroup_row = group_row + int(simdgroup) * kBands * 8;
  const bool has_rows = simdgroup_row < tile_rows;
  simdgroup_bfloat8x8 queries[kBands][kDimTiles];
  simdgroup_float8x8 sums[kBands][kDimTiles];
  float most[kBands], total[kBands];
  diagonal[int(lane)] = 0;
  diagonal[int(lane) + 32] = 0;
#pragma unroll
  for (int band = 0; band < kBands; ++band) {
    const int tile_row = simdgroup_row + band * 8 + row, token = min(tile_row / heads, tile_tokens - 1);
    position[band] = first_position + token;
    at[band] = (tile_first + token) * args.heads + kv_head * heads + tile_row % heads;
    most[band] = kNoMax;
    total[band] = 0;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      as<uint2>(scores)[row * (kBlockRow / 4) + part * 4 + i] =
          as_const<uint2>(q + ulong(at[band]) * kHeadDim)[part * 4 + i];
    }
    simdgroup_barrier(mem_flags::mem_threadgroup);
#pragma unroll
    for (int d = 0; d < kDimTiles; ++d) {
      simdgroup_load(queries[band][d], as<bfloat>(scores) + d * 8, kBlockRow);
      sums[band][d] = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
    }
    simdgroup_barrier(mem_flags::mem_threadgroup);
  }

  int base = first_key / kBlockKeys * kBlockKeys;
  Quads next = load_block<kType>(args, pages, cache, kv_head, base, first_key, last_position, index);
  for (; base <= last_position; base += kBlockKeys) {
    threadgroup_barrier(mem_flags::mem_threadgroup);  // all have read the previous block
    store_block<kType>(next, keys, values, index);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (base + kBlockKeys <= last_position) {
      next = load_block<kType>(args, pages, cache, kv_head, base + kBlockKeys, first_key, last_position, index);
    }
    if (!has_rows) continue;

    simdgroup_float8x8 products[kBands][kKeyTiles];
#pragma unroll
    for (int i = 0; i < kBands * kKeyTiles; ++i) {
      products[i / kKeyTiles][i % kKeyTiles] = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
    }
#pragma unroll
    for (int d = 0; d < kDimTiles; ++d) {
#pragma unroll
      for (int k = 0; k < kKeyTiles; ++k) {
        simdgroup_bfloat8x8 key;
        simdgroup_load(key, as<bfloat>(keys) + (k * 8 * kBlockRow + d * 8), kBlockRow, ulong2(0), true);
#pragma unroll
        for (int band = 0; band < kBands; ++band) {
          simdgroup_multiply_accumulate(products[band][k], queries[band][d], key, products[band][k]);
        }
      }
    }

    const bool all_visible = base >= all_see_from && base + kBlockKeys - 1 <= first_position;
    simdgroup_bfloat8x8 p[kBands][kKeyTiles];
#pragma unroll
    for (int band = 0; band < kBands; ++band) {
#pragma unroll
      for (int k = 0; k < kKeyTiles; ++k) simdgroup_store(products[band][k], as<float>(scores) + k * 8, kScoreRow);
      simdgroup_barrier(mem_flags::mem_threadgroup);
      float mine[8];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const float4 four = scores[row * (kScoreRow / 4) + part * 2 + i];
        mine[4 * i] = four.x;
        mine[4 * i + 1] = four.y;
        mine[4 * i + 2] = four.z;
        mine[4 * i + 3] = four.w;
      }
      if (!all_visible) {
        const int first = first_visible_key(position[band], args.window) - base - part * 8;
        const int last = position[band] - base - part * 8;
#pragma unroll
        for (int i = 0; i < 8; ++i) mine[i] = i >= first && i <= last ? mine[i] : -INFINITY;
      }
      float largest = mine[0];
#pragma unroll
      for (int i = 1; i < 8; ++i) largest = max(largest, mine[i]);
      largest = max(largest, simd_shuffle_xor(largest, ushort(1)));  // the four lanes of a row
      largest = max(largest, simd_shuffle_xor(largest, ushort(2)));
      largest = max(most[band], largest * args.factor);
      const float rescale = precise::exp2(most[band] - largest);
      const bool changes = simd_any(largest != most[band]);
      most[band] = largest;
      total[band] *= rescale;
      // Sums are of the rounded probabilities. So numerator and denominator have the same roundings, and equal values
      // come out unchanged.
      uint pairs[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        pairs[i] = pack_bf16(precise::exp2(fma(mine[2 * i], args.factor, -largest)),
                             precise::exp2(fma(mine[2 * i + 1], args.factor, -largest)));
        total[band] += as_type<float>(pairs[i] << 16) + as_type<float>(pairs[i] & 0xFFFF0000u);
      }
      simdgroup_barrier(mem_flags::mem_threadgroup);
      as<uint2>(scores)[row * (kBlockRow / 4) + part * 2] = uint2(pairs[0], pairs[1]);
      as<uint2>(scores)[row * (kBlockRow / 4) + part * 2 + 1] = uint2(pairs[2], pairs[3]);
      if (part == 0) diagonal[row * 9] = rescale;
      simdgroup_barrier(mem_flags::mem_threadgroup);
#pragma unroll
      for (int k = 0; k < kKeyTiles; ++k) simdgroup_load(p[band][k], as<bfloat>(scores) + k * 8, kBlockRow);
      if (changes) {
        simdgroup_float8x8 factors;
        simdgroup_load(factors, diagonal, 8);
        const simdgroup_float8x8 none = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
#pragma unroll
        for (int d = 0; d < kDimTiles; ++d) {
          simdgroup_multiply_accumulate(sums[band][d], factors, sums[band][d], none);
        }
      }
      simdgroup_barrier(mem_flags::mem_threadgroup);
    }

#pragma unroll
    for (int k = 0; k < kKeyTiles; ++k) {
#pragma unroll
      for (int d = 0; d < kDimTiles; ++d) {
        simdgroup_bfloat8x8 value;
        simdgroup_load(value, as<bfloat>(values) + (k * 8 * kBlockRow + d * 8), kBlockRow);
#pragma unroll
        for (int band = 0; band < kBands; ++band) {
          simdgroup_multiply_accumulate(sums[band][d], p[band][k], value, sums[band][d]);
        }
      }
    }
  }
  if (!has_rows) return;

#pragma unroll
  for (int band = 0; band < kBands; ++band) {
    total[band] += simd_shuffle_xor(total[band], ushort(1));
    total[band] += simd_shuffle_xor(total[band], ushort(2));
    const float scale = finish_factor(SoftmaxPart{most[band], total[band]}, sinks[at[band] % args.heads]);
    const bool is_written = simdgroup_row + band * 8 + row < tile_rows;
#pragma unroll
    for (int side = 0; side < 2; ++side) {
#pragma unroll
      for (int d = 0; d < kDimTiles / 2; ++d) {
        simdgroup_store(sums[band][side * (kDimTiles / 2) + d], as<float>(scores) + d * 8, kScoreRow);
      }
      simdgroup_barrier(mem_flags::mem_threadgroup);
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const float4 four = scores[row * (kScoreRow / 4) + part * 2 + i] * scale;
        if (is_written) {
          as<uint2>(out + ulong(at[band]) * kHeadDim)[side * 8 + part * 2 + i] =
              uint2(pack_bf16(four.x, four.y), pack_bf16(four.z, four.w));
        }
      }
      simdgroup_barrier(mem_flags::mem_threadgroup);
    }
  }
}

// One threadgroup per tile, kv head and 128 rows. Later tokens of a sequence see more keys, so they begin first.
kernel void attention_tile_bf16(constant AttentionLaunch& args [[buffer(0)]],
                                DevicePtr<const AttentionTile> tiles [[buffer(1)]],
                                DevicePtr<const int> positions [[buffer(2)]],
                                DevicePtr<const int> sequence [[buffer(3)]], DevicePtr<const int> table [[buffer(4)]],
                                DevicePtr<const ushort> q [[buffer(5)]], DevicePtr<const uchar> cache [[buffer(6)]],
                                DevicePtr<const float> sinks [[buffer(7)]], DevicePtr<ushort> out [[buffer(8)]],
                                OSS_POSITION) {
  OSS_THREADGROUP(uint2, keys, kBlockKeys * kBlockRow / 4);
  OSS_THREADGROUP(uint2, values, kBlockKeys * kBlockRow / 4);
  OSS_THREADGROUP(float4, scores, kSimdgroups * 8 * kScoreRow / 4);
  OSS_THREADGROUP(float, diagonals, kSimdgroups * 64);
  attend_tile<kKvBF16>(args, tiles, positions, sequence, table, q, cache, sinks, out, keys, values, scores, diagonals,
                       args.tiles - 1 - int(group.x), group, index, lane, simdgroup);
}
OSS_KERNEL(attention_tile_bf16)

kernel void attention_tile_fp8(constant AttentionLaunch& args [[buffer(0)]],
                               DevicePtr<const AttentionTile> tiles [[buffer(1)]],
                               DevicePtr<const int> positions [[buffer(2)]],
                               DevicePtr<const int> sequence [[buffer(3)]], DevicePtr<const int> table [[buffer(4)]],
                               DevicePtr<const ushort> q [[buffer(5)]], DevicePtr<const uchar> cache [[buffer(6)]],
                               DevicePtr<const float> sinks [[buffer(7)]], DevicePtr<ushort> out [[buffer(8)]],
                               OSS_POSITION) {
  OSS_THREADGROUP(uint2, keys, kBlockKeys * kBlockRow / 4);
  OSS_THREADGROUP(uint2, values, kBlockKeys * kBlockRow / 4);
  OSS_THREADGROUP(float4, scores, kSimdgroups * 8 * kScoreRow / 4);
  OSS_THREADGROUP(float, diagonals, kSimdgroups * 64);
  attend_tile<kKvFP8>(args, tiles, positions, sequence, table, q, cache, sinks, out, keys, values, scores, diagonals,
                      args.tiles - 1 - int(group.x), group, index, lane, simdgroup);
}
OSS_KERNEL(attention_tile_fp8)
