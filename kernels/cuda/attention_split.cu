// Attention, the keys of each token in parts:  out[t,h] = Σ_j p[t,h,j] · v[j]      p = softmax of scale · q[t,h]·k[j]
// over the visible keys j, with the sink of h as one more score without a value
//   q, out   [tokens, heads, 64]  bf16      query head h reads kv head h / (heads / kv_heads)
//   cache    [page][k, v][kv_head][64 keys][64]  bf16 or e4m3      sinks  [heads] f32
//   partial  [singles, heads, kMaxSplits, 64 + 2]  f32: Σ p·v, the largest score, Σ p, of one part
//   counters [singles, kv_heads]  i32: parts that are there
//
// The query heads of a kv head are rows that share every key. A token's visible pages are cut into parts, one block
// each. The cut depends on the position alone (visible_pages()), so a token gets the same bits in any step. The four
// warps of a block take pages in turn, each with a separate softmax, and are merged in order. The block that completes
// the parts of a token and kv head merges them, also in order, and adds the sink.
//
// Traffic 4 · 64 · keys · kv_heads bytes per token in bf16, half of it in e4m3; memory-bound. A page of 16 KB costs a
// warp 68 multiplications of 16 x 8 x 16: a fifth of the time in which an SM of an H200 gets that page. Three blocks
// per SM keep 96 KB and more in flight; 25 KB hide the latency. So one buffer per warp is enough: it loads the next
// page's keys after the multiplication with this page's keys, and values likewise.
#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/ptx/shared.cuh"

namespace oss::cuda {
namespace {

constexpr int kSplitWarps = kMinSplitPages;
constexpr int kSplitThreads = kSplitWarps * kWarp;
constexpr int kPartial = kHeadDim + 2;
constexpr size_t kSplitShared = kSplitWarps * 2 * kPlane * sizeof(bf16);  // 64 KB: a page for each warp

// A row of a warp's result in shared memory: sums, maximum, Σ p, and 6 floats that keep rows in different banks.
constexpr int kMergeRow = kHeadDim + 8;
static_assert(kSplitWarps * kRows * kMergeRow * sizeof(float) <= kSplitShared);

__device__ __forceinline__ void store_rows(const SoftmaxRows& rows, int group, float* merge /*[16, kMergeRow]*/) {
  const int lane = lane_id();
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = lane / 4 + 8 * half;
    if (row >= group) continue;
    float* to = merge + row * kMergeRow;
#pragma unroll
    for (int tile = 0; tile < kDimTiles; ++tile) {
      float2* pair = reinterpret_cast<float2*>(to + tile * 8 + lane % 4 * 2);
      *pair = {rows.sums[tile][2 * half], rows.sums[tile][2 * half + 1]};
    }
    if (lane % 4 == 0) {
      to[kHeadDim] = rows.part(half).max;
      to[kHeadDim + 1] = rows.part(half).sum;
    }
  }
}

// Merges the parts of one head of a token, by one warp; each lane computes the weight of one part.
static_assert(kMaxSplits <= kWarp, "a lane per part");
__device__ __forceinline__ void merge_parts(const float* partial /*[kMaxSplits, kPartial]*/, int splits, float sink,
                                            bf16* out) {
  const int lane = lane_id();
  const float2* parts = reinterpret_cast<const float2*>(partial);
  constexpr int kStride = kPartial / 2;
  const float2 mine = lane < splits ? __ldcg(parts + lane * kStride + kHeadDim / 2) : float2{kNoMax, 0};
  const float max = warp_max(mine.x), my_scale = exp2_approx(mine.x - max), sum = warp_sum(my_scale * mine.y);
  float2 sums{0, 0};
#pragma unroll 8
  for (int split = 0; split < splits; ++split) {
    const float scale = __shfl_sync(kAllLanes, my_scale, split);
    const float2 of_split = __ldcg(parts + split * kStride + lane);
    sums.x = fmaf(scale, of_split.x, sums.x);
    sums.y = fmaf(scale, of_split.y, sums.y);
  }
  const float scale = finish_factor({max, sum}, sink);
  reinterpret_cast<uint32_t*>(out)[lane] = pack_bf16x2(sums.x * scale, sums.y * scale);
}

// One block per single token, kv head and part.
template <KvType kType>
__global__ void __launch_bounds__(kSplitThreads, 3)
    split_kernel(AttentionArgs args, DeviceStep step, const int32_t* block_table /*[sequences, max_pages]*/,
                 Earlier<const bf16> q_written, Earlier<const void> cache_written, const float* sinks, float* partial,
                 int32_t* counters, bf16* out) {
  const int single = blockIdx.x, kv_head = blockIdx.y, split = blockIdx.z;
  const bool is_there = single < __ldcg(&step.counts->singles);
  const int token = is_there ? __ldcg(step.singles + single) : 0,
            position = is_there ? __ldcg(step.positions + token) : 0;
  const VisiblePages visible = visible_pages(position, args.window);
  const Waited waited = wait_for_earlier();
  if (!is_there || split >= visible.splits) return;
  const bf16* q = q_written(waited);
  const void* cache = cache_written(waited);

  const int group = args.heads / args.kv_heads, warp = threadIdx.x / kWarp, lane = lane_id();
  const int64_t first_row = int64_t(token) * args.heads + kv_head * group;  // row in q and out
  const int32_t* pages = block_table + int64_t(step.sequence[token]) * step.max_pages;
  const int first_page = visible.first + split * visible.split_pages;
  const int end_page = min(first_page + visible.split_pages, visible.first + visible.count);
  const int first_key = first_visible_key(position, args.window);
  bf16* keys = dynamic_shared<bf16>() + warp * 2 * kPlane;
  bf16* values = keys + kPlane;

  // Copies of a missing page form an empty group, so that groups can be counted.
  const auto start = [&](int page, int64_t from, bf16* plane) {
    if (page < end_page) {
      const int base = page * kPageTokens;
      start_plane<kType>(cache, from, first_key - base, position + 1 - base, lane, kWarp, plane);
    }
    cp_async_commit();
  };
  const auto keys_of_page = [&](int page) { return page < end_page ? keys_of(args, pages[page], kv_head) : 0; };
  const int64_t keys_to_values = int64_t(args.kv_heads) * kPlane;

  int page = first_page + warp;
  const int64_t from = keys_of_page(page);
  start(page, from, keys);
  start(page, from + keys_to_values, values);

  uint32_t queries[kDimSteps][4];
  load_queries({q + (first_row + min(lane / 4, group - 1)) * kHeadDim,
                q + (first_row + min(lane / 4 + 8, group - 1)) * kHeadDim},
               queries);

  const float factor = args.scale * kLog2E;
  SoftmaxRows rows;
  for (; page < end_page; page += kSplitWarps) {
    const int next = page + kSplitWarps, base = page * kPageTokens;
    const int64_t next_from = keys_of_page(next);

    cp_async_wait<1>();
    finish_plane<kType>(lane, kWarp, keys);
    __syncwarp();
    float scores[kPageTokens / 8][4];
    multiply_keys(queries, keys, scores);
    __syncwarp();
    start(next, next_from, keys);

    if (base < first_key || base + kPageTokens - 1 > position) {
      mask_scores(base, args.window, {position, position}, scores);
    }
    uint32_t p[kPageTokens / 16][4];
    exponentiate(factor, scores, rows, p);

    cp_async_wait<1>();
    finish_plane<kType>(lane, kWarp, values);
    __syncwarp();
    accumulate_values(p, values, rows);
    __syncwarp();
    start(next, next_from + keys_to_values, values);
  }

  // Every warp stores its rows; a warp without a page stores kNoMax and zeros. Then each warp merges one row.
  float* merge = dynamic_shared<float>();
  __syncthreads();
  store_rows(rows, group, merge + warp * kRows * kMergeRow);
  __syncthreads();
  for (int row = warp; row < group; row += kSplitWarps) {
    const float* of_row = merge + row * kMergeRow;
    SoftmaxPart part{kNoMax, 0};
#pragma unroll
    for (int w = 0; w < kSplitWarps; ++w) part.max = fmaxf(part.max, of_row[w * kRows * kMergeRow + kHeadDim]);
    float2 sums{0, 0};
#pragma unroll
    for (int w = 0; w < kSplitWarps; ++w) {
      const float* of_warp = of_row + w * kRows * kMergeRow;
      const float scale = exp2_approx(of_warp[kHeadDim] - part.max);
      part.sum = fmaf(scale, of_warp[kHeadDim + 1], part.sum);
      sums.x = fmaf(scale, of_warp[2 * lane], sums.x);
      sums.y = fmaf(scale, of_warp[2 * lane + 1], sums.y);
    }
    if (visible.splits == 1) {
      const float scale = finish_factor(part, sinks[kv_head * group + row]);
      uint32_t* to = reinterpret_cast<uint32_t*>(out + (first_row + row) * kHeadDim);
      to[lane] = pack_bf16x2(sums.x * scale, sums.y * scale);
    } else {
      const int64_t of_single = int64_t(single) * args.heads + kv_head * group + row;
      float2* to = reinterpret_cast<float2*>(partial + (of_single * kMaxSplits + split) * kPartial);
      to[lane] = sums;
      if (lane == 0) to[kHeadDim / 2] = {part.max, part.sum};
    }
  }
  if (visible.splits == 1) return;

  // The block that counts the last part can read all of them.
  __shared__ bool is_last;
  __threadfence();
  __syncthreads();
  int32_t* counter = counters + single * args.kv_heads + kv_head;
  if (threadIdx.x == 0) is_last = atomicAdd(counter, 1) == visible.splits - 1;
  __syncthreads();
  if (!is_last) return;
  __threadfence();
  for (int row = warp; row < group; row += kSplitWarps) {
    const int head = kv_head * group + row;
    merge_parts(partial + (int64_t(single) * args.heads + head) * kMaxSplits * kPartial, visible.splits, sinks[head],
                out + (first_row + row) * kHeadDim);
  }
  if (threadIdx.x == 0) *counter = 0;
}

}  // namespace

Status attention_split(const AttentionArgs& args, const DeviceStep& step, int splits, const bf16* q, const void* cache,
                       const float* sinks, float* scratch, int32_t* counters, bf16* out, Stream stream) {
  if (!attention_fits(args)) return cudaErrorInvalidValue;
  return launch(args.type == kKvFP8 ? split_kernel<kKvFP8> : split_kernel<kKvBF16>,
                {.grid = dim3(args.tokens, args.kv_heads, splits),
                 .block = kSplitThreads,
                 .shared = kSplitShared,
                 .stream = stream},
                args, step, step.block_tables[args.group], q, cache, sinks, scratch, counters, out);
}

}  // namespace oss::cuda
