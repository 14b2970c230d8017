// Steps of both attention kernels: load a page into shared memory, and multiply 16 rows of queries with it.
//
// A warp holds its rows as fragments (ptx/mma.cuh): lane (g, t) has row g in elements 0, 1 and row g + 8 in 2, 3 of
// each tile of 8 columns. The layout of the scores after one multiplication is the layout of the probabilities for the
// next one.
//
// Scores are in units of ln 2, so that a probability is one exp2: `factor` = scale · log2(e), and a sink enters as sink
// · log2(e). Probabilities are rounded to bf16 for the multiplication. One more tile, with columns of ones as values,
// gives their sum. So numerator and denominator have the same roundings, and equal values come out unchanged.
#pragma once
#include "kernels/common/args.h"
#include "kernels/common/softmax.h"
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/ptx/convert.cuh"
#include "kernels/cuda/ptx/cp_async.cuh"
#include "kernels/cuda/ptx/mma.cuh"
#include "kernels/cuda/warp.cuh"

namespace oss::cuda {

constexpr int kRows = 16;                       // rows of queries in a warp
constexpr int kMaxGroup = 16;                   // query heads of one kv head; the rows of a token fit a warp
constexpr int kDimTiles = kHeadDim / 8;         // tiles of 8 sums each
constexpr int kDimSteps = kHeadDim / 16;        // steps of 16 products of a score each
constexpr int kPlane = kPageTokens * kHeadDim;  // elements of one head's keys, or values, in a page
constexpr int kChunk = 8;                       // bf16 in 16 bytes: one copy of cp.async, one read of ldmatrix
constexpr int kRowChunks = kHeadDim / kChunk;
constexpr float kLog2E = 1.44269504088896341f;

// Below every score, and finite: before the first visible key, the maximum minus itself must be 0, not NaN.
constexpr float kNoMax = -1e30f;

inline bool attention_fits(const AttentionArgs& args) {
  return args.type != kKvF32 && args.head_dim == kHeadDim && args.heads <= kMaxGroup * args.kv_heads;
}

__device__ __forceinline__ int lane_id() { return int(threadIdx.x % kWarp); }

__device__ __forceinline__ int first_visible_key(int position, int window) {
  return window > 0 && position >= window ? position - window + 1 : 0;
}

// --- a plane in shared memory: [64 keys, 64] bf16 --------------------------------------------------------------------

// Rows have 128 bytes, all banks once. Chunk c of row r is at c ^ (r % 8). So the eight rows of one column of chunks,
// which ldmatrix reads together, are in different banks.
__device__ __forceinline__ bf16* chunk_at(bf16* plane, uint32_t key, uint32_t chunk) {
  return plane + key * kHeadDim + (chunk ^ (key % 8)) * kChunk;
}

// Index of the first key element of one head of a page in the cache; its values are kv_heads planes further.
__device__ __forceinline__ int64_t keys_of(const AttentionArgs& args, int32_t page, int kv_head) {
  return (int64_t(page) * 2 * args.kv_heads + kv_head) * kPlane;
}

// Elements in 16 bytes of the cache: bf16 fills one chunk, e4m3 becomes two.
template <KvType kType>
constexpr int kPerCopy = 16 / kv_element_bytes(kType);

// Converts four e4m3 to four bf16, exactly. Exponent and mantissa move to their places in bf16, which gives values
// 2^120 too small, subnormals included. (NaN becomes 480. The cache has a NaN only where the query of the same token
// has one too.)
__device__ __forceinline__ uint2 widen_e4m3(uint32_t four) {
  constexpr uint32_t kTwoTo120 = 0x7B807B80u;
  const uint32_t low = (four & 0xFFu) << 8 | (four & 0xFF00u) << 16;  // each in the upper half of its bf16
  const uint32_t high = (four >> 8 & 0xFF00u) | (four & 0xFF000000u);
  return {scale_bf16x2<kLowHalf>((low & 0x80008000u) | (low >> 4 & 0x07F007F0u), kTwoTo120),
          scale_bf16x2<kLowHalf>((high & 0x80008000u) | (high >> 4 & 0x07F007F0u), kTwoTo120)};
}

// Starts the copies of the plane at `cache + from`; this is thread `thread` of `threads`. Keys outside [begin, end)
// become zeros and are not read: their memory may hold anything, and 0 times a NaN is NaN.
template <KvType kType>
__device__ __forceinline__ void start_plane(const void* cache, int64_t from, int begin, int end, int thread,
                                            int threads, bf16* plane) {
  constexpr int kCopies = kHeadDim / kPerCopy<kType>;  // per key
  const auto* bytes = static_cast<const unsigned char*>(cache) + from * kv_element_bytes(kType);
#pragma unroll
  for (int i = thread; i < kPageTokens * kCopies; i += threads) {
    const int key = i / kCopies, chunk = i % kCopies * (kRowChunks / kCopies);
    cp_async_16(chunk_at(plane, key, chunk), bytes + i * 16, key >= begin && key < end);
  }
}

// Converts this thread's copies to bf16, after it has waited for them. 16 bytes of e4m3 are in the first of the two
// chunks that they become, so no other thread's data is overwritten.
template <KvType kType>
__device__ __forceinline__ void finish_plane(int thread, int threads, bf16* plane) {
  if constexpr (kType == kKvFP8) {
    constexpr int kCopies = kHeadDim / kPerCopy<kType>;
#pragma unroll 2
    for (int i = thread; i < kPageTokens * kCopies; i += threads) {
      const int key = i / kCopies, chunk = i % kCopies * 2;
      uint4* first = reinterpret_cast<uint4*>(chunk_at(plane, key, chunk));
      const uint4 codes = *first;
      const uint2 a = widen_e4m3(codes.x), b = widen_e4m3(codes.y), c = widen_e4m3(codes.z), d = widen_e4m3(codes.w);
      *first = {a.x, a.y, b.x, b.y};
      *reinterpret_cast<uint4*>(chunk_at(plane, key, chunk + 1)) = {c.x, c.y, d.x, d.y};
    }
  }
}

// --- 16 rows over 8 · kTiles keys, a page or less --------------------------------------------------------------------

// Loads the queries of rows g and g + 8, each [64]. Rows are independent: an unused row may hold anything.
__device__ __forceinline__ void load_queries(const bf16* const (&rows)[2], uint32_t (&q)[kDimSteps][4]) {
#pragma unroll
  for (int i = 0; i < kDimSteps * 4; ++i) {
    const int dim = i / 4 * 16 + i % 4 / 2 * 8 + lane_id() % 4 * 2;
    q[i / 4][i % 4] = *reinterpret_cast<const uint32_t*>(rows[i % 2] + dim);
  }
}

// scores[16, keys] = q[16, 64] · keys[keys, 64]ᵀ
template <int kTiles>
__device__ __forceinline__ void multiply_keys(const uint32_t (&q)[kDimSteps][4], bf16* keys,
                                              float (&scores)[kTiles][4]) {
  const uint32_t lane = lane_id();
#pragma unroll
  for (int tile = 0; tile < kTiles; ++tile) {
#pragma unroll
    for (int i = 0; i < 4; ++i) scores[tile][i] = 0;
#pragma unroll
    for (int step = 0; step < kDimSteps; step += 2) {
      uint32_t k[4];  // dims 16·step + 8m.. of keys 8·tile..
      ldmatrix_x4(k, chunk_at(keys, 8 * tile + lane % 8, 2 * step + lane / 8));
      mma_m16n8k16(scores[tile], q[step], {k[0], k[1]});
      mma_m16n8k16(scores[tile], q[step + 1], {k[2], k[3]});
    }
  }
}

// Rows g and g + 8 are tokens at these positions; `base` is the first of the keys.
template <int kTiles>
__device__ __forceinline__ void mask_scores(int base, int window, const int (&positions)[2],
                                            float (&scores)[kTiles][4]) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int mine = base + lane_id() % 4 * 2;  // the first of this lane's keys
    const int first = first_visible_key(positions[half], window) - mine, last = positions[half] - mine;
#pragma unroll
    for (int i = 0; i < kTiles * 2; ++i) {
      const int key = i / 2 * 8 + i % 2;
      if (key < first || key > last) scores[i / 2][2 * half + i % 2] = -__builtin_inff();
    }
  }
}

// The softmax in progress of rows g and g + 8.
struct SoftmaxRows {
  float max[2];                  // the maximum from which probabilities are computed
  float sums[kDimTiles + 1][4];  // Σ p·v, and in the last tile Σ p, the same in every column

  __device__ __forceinline__ SoftmaxRows() : max{kNoMax, kNoMax}, sums{} {}
  __device__ __forceinline__ SoftmaxPart part(int half) const { return {max[half], sums[kDimTiles][2 * half]}; }
};

// Turns scores into probabilities p, in the layout of a first operand [16, keys], and rescales the sums so far to the
// new maximum.
template <int kTiles>
__device__ __forceinline__ void exponentiate(float factor, float (&scores)[kTiles][4], SoftmaxRows& rows,
                                             uint32_t (&p)[kTiles / 2][4]) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float largest = scores[0][2 * half];
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      largest = fmaxf(largest, fmaxf(scores[tile][2 * half], scores[tile][2 * half + 1]));
    }
    largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, 1));  // the four lanes of a row
    largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, 2));
    const float max = fmaxf(rows.max[half], largest * factor), rescale = exp2_approx(rows.max[half] - max);
    rows.max[half] = max;
#pragma unroll
    for (int tile = 0; tile < kDimTiles + 1; ++tile) {
      rows.sums[tile][2 * half] *= rescale;
      rows.sums[tile][2 * half + 1] *= rescale;
    }
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      p[tile / 2][tile % 2 * 2 + half] = pack_bf16x2(exp2_approx(fmaf(scores[tile][2 * half], factor, -max)),
                                                     exp2_approx(fmaf(scores[tile][2 * half + 1], factor, -max)));
    }
  }
}

// sums[16, 64 and 1] += p[16, keys] · values[keys, 64 and a one]
template <int kSteps>
__device__ __forceinline__ void accumulate_values(const uint32_t (&p)[kSteps][4], bf16* values, SoftmaxRows& rows) {
  constexpr uint32_t kOnes = 0x3F803F80u;
  const uint32_t lane = lane_id();
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
#pragma unroll
    for (int tile = 0; tile < kDimTiles; tile += 2) {
      uint32_t v[4];  // keys 16·step.. and + 8.. of dims 8·tile.., then of the next 8 dims
      ldmatrix_x4_trans(v, chunk_at(values, 16 * step + lane % 16, tile + lane / 16));
      mma_m16n8k16(rows.sums[tile], p[step], {v[0], v[1]});
      mma_m16n8k16(rows.sums[tile + 1], p[step], {v[2], v[3]});
    }
    mma_m16n8k16(rows.sums[kDimTiles], p[step], {kOnes, kOnes});
  }
}

// The final factor for Σ p·v: the sink joins the sum of probabilities.
__device__ __forceinline__ float finish_factor(SoftmaxPart part, float sink) {
  const SoftmaxMerged merged = softmax_merge(part, {sink * kLog2E, 1.0f}, exp2_approx);
  return merged.scale_a / merged.part.sum;
}

}  // namespace oss::cuda
