// QKV:  q = rope(x · Wqᵀ + bq) of every head, k likewise and v without rope of every kv_head
//   rope:  with a = dim i < 32 and b = dim i + 32      a' = a·cos[i] - b·sin[i]      b' = b·cos[i] + a·sin[i]
//   x  [tokens, hidden]  bf16      w  [q, k, v]  bf16, rows of q and k packed in kRowsRope, those of v in kRowsPlain
//   bias  [q, k, v]  f32, plain order      q  [tokens, heads * 64]  bf16
//   cache  [page][k, v][kv_head][kPageTokens][64]  bf16 or e4m3
//
// Traffic: 29.5 MB of weights, once, up to about 100 tokens. The epilogue does the rotation and computes the cache
// addresses: in kRowsRope a lane holds a and b of the same token.
//
// norm_qkv is rms_norm and qkv in one launch for steps of few tokens. qkv_low_rank adds the terms of adapters to the
// sums before the rotation.
#include "kernels/common/dtype.h"
#include "kernels/cuda/low_rank.cuh"
#include "kernels/cuda/matrix_stream.cuh"
#include "kernels/cuda/ptx/convert.cuh"

namespace oss::cuda {
namespace {

constexpr int kHalfHead = kHeadDim / 2;
constexpr int kHeadTiles = kHeadDim / kRowTile;

// Adds the terms of adapters to rows `row` and `other` of the matrix of q (0), k (1) or v (2).
struct NoTerms {
  __device__ __forceinline__ void add(int, int, int, int, float&, float&) const {}
};
struct QkvTerms {
  LowRankTerms of_all;
  __device__ __forceinline__ void add(int token, int matrix, int row, int other, float& low, float& high) const {
    of_all.add(token * 3 + matrix, row, other, low, high);
  }
};

template <typename Terms>
struct QkvEpilogue {
  int heads, kv_heads, max_pages;
  KvType type;
  const int32_t* positions;    // [tokens]
  const int32_t* sequence;     // [tokens]
  const int32_t* block_table;  // [sequences, max_pages]
  const float* rope;           // [tokens, 2, 32]
  const float* bias;           // [(heads + 2 * kv_heads) * 64]
  bf16* q;                     // [tokens, heads * 64]
  void* cache;                 // [page][k, v][kv_head][kPageTokens][64]
  Terms terms;

  __device__ __forceinline__ void prefetch(int first_row_tile, int end_row_tile) const {
    const int first = first_row_tile / kHeadTiles, end = divide_up(end_row_tile, kHeadTiles);  // heads
    prefetch_lines(bias + first * kHeadDim, size_t(end - first) * kHeadDim * sizeof(float));
  }
  __device__ __forceinline__ void operator()(int row_tile, int row, int token, float low, float high) const {
    const int head = row_tile / kHeadTiles, tile = row_tile % kHeadTiles;  // q's heads, then k's, then v's
    const bool is_value = head >= heads + kv_heads;
    const int dim = is_value ? kRowTile * tile + row : 8 * tile + row;
    const int other = is_value ? dim + 8 : dim + kHalfHead;
    low += bias[head * kHeadDim + dim];
    high += bias[head * kHeadDim + other];
    const int matrix = head < heads ? 0 : is_value ? 2 : 1;
    const int rows_before = (head - (matrix > 0 ? heads : 0) - (matrix > 1 ? kv_heads : 0)) * kHeadDim;
    terms.add(token, matrix, rows_before + dim, rows_before + other, low, high);
    if (!is_value) {
      const float* angle = rope + size_t(token) * kHeadDim;
      const float cosine = angle[dim], sine = angle[kHalfHead + dim];
      const float a = low, b = high;
      // Written as fma, so that every kernel with this epilogue rounds equally.
      low = fmaf(a, cosine, -(b * sine));
      high = fmaf(b, cosine, a * sine);
    }
    if (head < heads) {
      store(q + (size_t(token) * heads + head) * kHeadDim, dim, other, low, high);
      return;
    }
    const int position = positions[token], kv_head = head - heads - (is_value ? kv_heads : 0);
    const int page = block_table[size_t(sequence[token]) * max_pages + position / kPageTokens];
    const size_t plane = (size_t(page) * 2 + (is_value ? 1 : 0)) * kv_heads + kv_head;
    const size_t to = (plane * kPageTokens + position % kPageTokens) * kHeadDim;
    if (type == kKvFP8) {
      static_cast<uint8_t*>(cache)[to + dim] = f32_to_e4m3(low);
      static_cast<uint8_t*>(cache)[to + other] = f32_to_e4m3(high);
    } else {
      store(static_cast<bf16*>(cache) + to, dim, other, low, high);
    }
  }

  static __device__ __forceinline__ void store(bf16* head, int dim, int other, float low, float high) {
    const uint32_t both = pack_bf16x2(low, high);
    head[dim] = bf16(both);
    head[other] = bf16(both >> 16);
  }
};

bool is_possible(const QkvArgs& args) {
  return args.head_dim == kHeadDim && (args.type == kKvBF16 || args.type == kKvFP8);
}

PackedMatrix packed_of(const QkvArgs& args, const void* w) {
  return {static_cast<const uint4*>(w), (args.heads + 2 * args.kv_heads) * kHeadTiles, args.hidden / kMatrixColTile};
}

template <typename Terms = NoTerms>
QkvEpilogue<Terms> epilogue_of(const QkvArgs& args, const DeviceStep& step, const float* bias, bf16* q, void* cache,
                               const Terms& terms = {}) {
  return {.heads = args.heads,
          .kv_heads = args.kv_heads,
          .max_pages = step.max_pages,
          .type = args.type,
          .positions = step.positions,
          .sequence = step.sequence,
          .block_table = step.block_tables[args.group],
          .rope = step.rope,
          .bias = bias,
          .q = q,
          .cache = cache,
          .terms = terms};
}

}  // namespace

Status qkv(const QkvArgs& args, const DeviceStep& step, const bf16* x, const void* w, const float* bias, bf16* q,
           void* cache, Stream stream) {
  if (!is_possible(args)) return cudaErrorInvalidValue;
  return multiply(packed_of(args, w), args.tokens, &step.counts->tokens, Columns<false>{x, nullptr},
                  epilogue_of(args, step, bias, q, cache), stream);
}

Status qkv_low_rank(const QkvArgs& args, const DeviceStep& step, const LowRankStep& adapters, int number, const bf16* x,
                    const void* w, const float* bias, bf16* q, void* cache, Stream stream) {
  if (!is_possible(args)) return cudaErrorInvalidValue;
  const LowRankRows rows = {
      .adapters = adapters.adapters, .token_of_row = nullptr, .expert = nullptr, .number = number, .per_row = 3};
  const Status status = low_rank_sums(
      rows, args.tokens, &step.counts->tokens,
      {.x = x, .x_low = nullptr, .in = args.hidden, .stride = args.hidden, .rows_per_x = 3}, adapters.sums, stream);
  if (status != cudaSuccess) return status;
  return multiply(packed_of(args, w), args.tokens, &step.counts->tokens, Columns<false>{x, nullptr},
                  epilogue_of(args, step, bias, q, cache, QkvTerms{{rows, adapters.sums}}), stream);
}

Status norm_qkv(const QkvArgs& args, float eps, const DeviceStep& step, const float* x, const float* norm,
                const void* w, const float* bias, bf16* q, void* cache, Stream stream) {
  if (!is_possible(args)) return cudaErrorInvalidValue;
  if (args.tokens == 0) return cudaSuccess;
  const PackedMatrix packed = packed_of(args, w);
  const MatrixStream plan = plan_matrix_stream(packed.row_tiles, args.hidden, args.tokens, resources());
  if (plan.blocks == 0) return cudaErrorInvalidValue;
  return multiply_stream<false>(packed, plan, args.tokens, &step.counts->tokens, x,
                                NormedRows<false>{norm, eps, nullptr}, epilogue_of(args, step, bias, q, cache), {},
                                stream);
}

}  // namespace oss::cuda
