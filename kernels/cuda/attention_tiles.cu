// Attention of long prefills: up to 16 tokens of one sequence share the pass over the keys.
//   out[t,h] = Σ_j p[t,h,j] · v[j]      p = softmax of scale · q[t,h]·k[j] over the visible keys j, and the sink of h
//   q, out  [tokens, heads, 64]  bf16      query head h reads kv head h / group, group = heads / kv_heads
//   cache   [page][k, v][kv_head][64 keys][64]  bf16 or e4m3      sinks  [heads] f32      tiles  (first token, tokens)
//
// One block per tile and kv head. Row r is token r / group and head r % group of that token. A warp has 16 rows, so
// there are `group` warps. A page is loaded once per block, while the previous one is multiplied. Row sums stay in
// registers from the first page to the last.
//
// Arithmetic 4 · 64 · keys FLOP per token and head. For 128 rows (group 8) a page of 16 KB gives 2.1 MFLOP: 128 per
// byte from L2, compute-bound. Per warp and page there are 68 multiplications of 16 x 8 x 16 (136 clocks of an A100's
// SM), 16 KB of fragments from shared memory (128 clocks) and 1024 exp2 (64). They overlap.
#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/ptx/shared.cuh"

namespace oss::cuda {
namespace {

static_assert(kAttentionTile == kRows, "a tile has as many warps as a group has heads");
constexpr int kMaxTileThreads = kMaxGroup * kWarp;
constexpr size_t kTileShared = 2 * 2 * kPlane * sizeof(bf16);  // 32 KB: this page and the next

// A page is processed in two parts: with 64 scores per row, two blocks per SM would not have 128 registers per thread.
constexpr int kPartKeys = kPageTokens / 2;

template <KvType kType>
__global__ void __launch_bounds__(kMaxTileThreads)
    tiles_kernel(AttentionArgs args, DeviceStep step, const int32_t* block_table /*[sequences, max_pages]*/,
                 const bf16* q, const void* cache, const float* sinks, bf16* out) {
  // Later tokens of a sequence see more keys, so they begin first.
  const int tile_index = step.counts->tiles - 1 - int(blockIdx.x), kv_head = blockIdx.y;
  if (tile_index < 0) return;
  const AttentionTile tile = step.tiles[tile_index];
  const int group = args.heads / args.kv_heads, lane = lane_id(), warp_row = threadIdx.x / kWarp * kRows;
  const int32_t* pages = block_table + int64_t(step.sequence[tile.first]) * step.max_pages;

  // Positions within a tile are consecutive.
  const int first_position = step.positions[tile.first], last_position = first_position + tile.tokens - 1;
  const int first_key = first_visible_key(first_position, args.window);  // the first key that any of them sees
  const int all_see_from = first_visible_key(last_position, args.window), all_see_to = first_position;

  // Rows g and g + 8 of this warp: the positions of their tokens, and their rows in q and out [tokens · heads, 64].
  // Rows past the tile's last token repeat that token, and are not written.
  int positions[2], at[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = warp_row + lane / 4 + 8 * half, token = min(row / group, tile.tokens - 1);
    positions[half] = first_position + token;
    at[half] = (tile.first + token) * args.heads + kv_head * group + row % group;
  }
  uint32_t queries[kDimSteps][4];
  load_queries({q + int64_t(at[0]) * kHeadDim, q + int64_t(at[1]) * kHeadDim}, queries);

  const auto buffer_of = [](int page) { return dynamic_shared<bf16>() + page % 2 * 2 * kPlane; };
  const auto start = [&](int page) {
    const int base = page * kPageTokens, begin = first_key - base, end = last_position + 1 - base;
    const int64_t from = keys_of(args, pages[page], kv_head), values_from = from + int64_t(args.kv_heads) * kPlane;
    start_plane<kType>(cache, from, begin, end, threadIdx.x, blockDim.x, buffer_of(page));
    start_plane<kType>(cache, values_from, begin, end, threadIdx.x, blockDim.x, buffer_of(page) + kPlane);
    cp_async_commit();
  };

  const float factor = args.scale * kLog2E;
  const int last_page = last_position / kPageTokens;
  const bool has_rows = warp_row < tile.tokens * group;
  SoftmaxRows rows;
  start(first_key / kPageTokens);
  for (int page = first_key / kPageTokens; page <= last_page; ++page) {
    bf16* keys = buffer_of(page);
    bf16* values = keys + kPlane;
    cp_async_wait<0>();
    finish_plane<kType>(threadIdx.x, blockDim.x, keys);
    finish_plane<kType>(threadIdx.x, blockDim.x, values);
    __syncthreads();  // this page is complete, and all threads have read the previous one
    if (page < last_page) start(page + 1);
    if (!has_rows) continue;

    for (int part = 0; part < kPageTokens; part += kPartKeys) {
      const int base = page * kPageTokens + part;
      if (base > last_position || base + kPartKeys <= first_key) continue;
      float scores[kPartKeys / 8][4];
      multiply_keys(queries, keys + part * kHeadDim, scores);
      if (base < all_see_from || base + kPartKeys - 1 > all_see_to) mask_scores(base, args.window, positions, scores);
      uint32_t p[kPartKeys / 16][4];
      exponentiate(factor, scores, rows, p);
      accumulate_values(p, values + part * kHeadDim, rows);
    }
  }

#pragma unroll
  for (int half = 0; half < 2; ++half) {
    if (warp_row + lane / 4 + 8 * half >= tile.tokens * group) continue;
    const float scale = finish_factor(rows.part(half), sinks[at[half] % args.heads]);
    uint32_t* to = reinterpret_cast<uint32_t*>(out + int64_t(at[half]) * kHeadDim) + lane % 4;
#pragma unroll
    for (int t = 0; t < kDimTiles; ++t) {
      to[4 * t] = pack_bf16x2(rows.sums[t][2 * half] * scale, rows.sums[t][2 * half + 1] * scale);
    }
  }
}

}  // namespace

Status attention_tiles(const AttentionArgs& args, const DeviceStep& step, int tiles, const bf16* q, const void* cache,
                       const float* sinks, bf16* out, Stream stream) {
  if (!attention_fits(args)) return cudaErrorInvalidValue;
  const int warps = args.heads / args.kv_heads;
  return launch(
      args.type == kKvFP8 ? tiles_kernel<kKvFP8> : tiles_kernel<kKvBF16>,
      {.grid = dim3(tiles, args.kv_heads), .block = dim3(warps * kWarp), .shared = kTileShared, .stream = stream}, args,
      step, step.block_tables[args.group], q, cache, sinks, out);
}

}  // namespace oss::cuda
