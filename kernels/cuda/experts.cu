// The experts of one layer. For each pair p = (t, k) of a token and its k-th expert e = index[t,k]:
//   gate[i] = W1[2i]·normed[t] + b1[2i]    up[i] = W1[2i+1]·normed[t] + b1[2i+1]    act[p,i] = swiglu(gate[i], up[i])
//   out[p,r] = W2[r]·act[p] + b2[r]          x[t] += Σ_k weight[t,k] · out[p], in the order of k
//   W1  [2·intermediate, hidden]  in kRowsGateUp, W2  [hidden, intermediate]  in kRowsPlain: MXFP4 of pack_experts.cu
//   normed, act  bf16      out, x and all sums  float32
//
// Traffic: 17 bytes per 32 weights, once per expert that a pair has chosen: 13.2 MB of either model, 12.3 us for the
// four of one token at 4.3 TB/s. Memory-bound up to about 100 tokens per expert; then 6·intermediate·hidden per pair.
//
// Weights are the 16-row operand of mma.m16n8k16 and tokens the 8 columns; a lane dequantises what it multiplies. To
// keep up, an SM has to dequantise 61 weights in a nanosecond, and has 112 logical operations: mxfp4.cuh spends 1.03.
//
// A sum is formed in one order, whatever else is in the step and whichever kernel runs: the column tiles are cut into
// kParts parts by their number alone, a part is summed by one mma after the other from zero, then 0 + part 0 + ...
//
// Two kernels for either product. A handful of tokens: a block's eight warps take one part each, and find by themselves
// who chose which expert. More: pairs are sorted by expert first, and a block multiplies up to kExpertTokenTile pairs.
#include "kernels/common/swiglu.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/mxfp4.cuh"
#include "kernels/cuda/ptx/convert.cuh"
#include "kernels/cuda/ptx/cp_async.cuh"
#include "kernels/cuda/ptx/memory.cuh"
#include "kernels/cuda/ptx/mma.cuh"
#include "kernels/cuda/ptx/shared.cuh"
#include "kernels/cuda/warp.cuh"

namespace oss::cuda {
namespace {

constexpr int kParts = 8;  // one for each warp of a block
constexpr int kThreads = kParts * kWarp;
constexpr int kTokenTile = 8;  // columns of the second operand of mma.m16n8k16
constexpr int kMaxExperts = 256;

// What a column tile has: 16 bytes of codes for each lane, four bytes of scales for each pair of rows, and of a token's
// 64 columns 8 times 16 bytes, of which a lane takes one in each half.
constexpr int kCodeLoads = kWarp, kScaleWords = kRowTile / 2, kTokenLoads = kExpertColTile * 2 / 16;

struct PackedMatrix {
  const uint4* codes;      // [experts, row_tiles, col_tiles, lane]
  const uint32_t* scales;  // [experts, row_tiles, col_tiles, g]
  int row_tiles, col_tiles;
};

__device__ __forceinline__ int first_tile_of_part(int part, int col_tiles) { return part * col_tiles / kParts; }

// The other operand: the row of a pair, which several pairs may share. What lies past `cols` counts as zero.
struct Inputs {
  const bf16* rows;
  int cols, stride, pairs_per_row;

  __device__ __forceinline__ uint32_t row_of_pair(int pair) const { return uint32_t(pair) / uint32_t(pairs_per_row); }
};

// --- epilogues: what becomes of the sums of rows g and g + 8 of a row tile -------------------------------------------

// A float with the functions that swiglu() looks for. min(bound, x) keeps a NaN in x, unlike CUDA's own.
struct Real {
  float value;
  __device__ explicit Real(float v) : value(v) {}
  __device__ friend Real operator+(Real a, Real b) { return Real(a.value + b.value); }
  __device__ friend Real operator*(Real a, Real b) { return Real(a.value * b.value); }
  __device__ friend Real operator/(Real a, Real b) { return Real(a.value / b.value); }
  __device__ friend Real min(Real bound, Real x) { return bound.value < x.value ? bound : x; }
  __device__ friend Real max(Real bound, Real x) { return bound.value > x.value ? bound : x; }
  __device__ friend Real exp(Real x) { return Real(expf(x.value)); }
};

struct GateUp {
  float limit, alpha;
  const float* bias;  // [experts, 16 * row_tiles]
  bf16* act;          // [pairs, stride]
  int stride;

  __device__ __forceinline__ float2 biases(int tile_of_all, int g) const {
    return *reinterpret_cast<const float2*>(bias + size_t(tile_of_all) * kRowTile + 2 * g);
  }
  __device__ __forceinline__ void store(int row_tile, int g, int pair, float gate, float up) const {
    const float y = swiglu(Real(gate), Real(up), alpha, limit).value;
    act[size_t(pair) * stride + row_tile * (kRowTile / 2) + g] = bf16(pack_bf16x2(y, 0));
  }
};

struct Down {
  const float* bias;  // [experts, 16 * row_tiles]
  float* out;         // [pairs, stride]
  int stride;

  __device__ __forceinline__ float2 biases(int tile_of_all, int g) const {
    const float* first = bias + size_t(tile_of_all) * kRowTile + g;
    return {first[0], first[8]};
  }
  __device__ __forceinline__ void store(int row_tile, int g, int pair, float low, float high) const {
    float* to = out + size_t(pair) * stride + row_tile * kRowTile + g;
    to[0] = low;
    to[8] = high;
  }
};

// --- a handful of tokens ---------------------------------------------------------------------------------------------

// Then every expert has a column of the operand for each of its pairs, and each lane of a warp can hold one pair.
constexpr int kFewTokens = kTokenTile, kFewPairs = kWarp;
constexpr int kPartTiles = 6;  // of columns, in registers: up to 3072 columns, and gpt-oss has 2880

__device__ __forceinline__ int nth_bit(uint32_t bits, int n) {
  for (int i = 0; i < n; ++i) bits &= bits - 1;
  return bits == 0 ? -1 : __ffs(int(bits)) - 1;
}

// The experts of a few pairs in the order in which they are first chosen, found by a warp for itself.
struct Chosen {
  int expert;      // of this lane's pair
  uint32_t pairs;  // the lanes with the same expert
  uint32_t first;  // the lanes with the first pair of an expert

  __device__ Chosen(const int32_t* index, int count) {
    const int lane = threadIdx.x % kWarp;
    expert = lane < count ? index[lane] : 0;
    pairs = __ballot_sync(kAllLanes, lane < count);
#pragma unroll
    for (int bit = 1; bit < kMaxExperts; bit *= 2) {
      const uint32_t with = __ballot_sync(kAllLanes, (expert & bit) != 0);
      pairs &= (expert & bit) != 0 ? with : ~with;
    }
    first = __ballot_sync(kAllLanes, lane < count && __ffs(int(pairs)) - 1 == lane);
  }
};

// The work is every row tile of every chosen expert, one after another; each block takes an equal run of it. One warp
// per part. While a tile is multiplied, the loads of the next are under way: 3.3 KB per warp, 52 KB per SM.
template <typename Epilogue>
__global__ void __launch_bounds__(kThreads, 2)
    few_pairs_kernel(PackedMatrix w, int top_k, const int32_t* num_tokens, const int32_t* index /*[tokens, top_k]*/,
                     Inputs inputs, Epilogue epilogue) {
  const int part = threadIdx.x / kWarp, lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
  const int first_tile = first_tile_of_part(part, w.col_tiles);
  const int tiles = first_tile_of_part(part + 1, w.col_tiles) - first_tile;
  const Chosen chosen(index, *num_tokens * top_k);
  const int work = __popc(chosen.first) * w.row_tiles;
  const int begin = int(int64_t(work) * blockIdx.x / gridDim.x);
  const int end = int(int64_t(work) * (blockIdx.x + 1) / gridDim.x);
  if (begin == end) return;

  const uint4* codes_at = nullptr;
  const uint32_t* scales_at = nullptr;
  const auto find = [&](int expert, int row_tile) {
    const size_t tile = (size_t(expert) * w.row_tiles + row_tile) * w.col_tiles + first_tile;
    codes_at = w.codes + tile * kCodeLoads + lane;
    scales_at = w.scales + tile * kScaleWords + g;
  };
  uint4 codes[kPartTiles];
  uint32_t scales[kPartTiles];
  const auto load = [&](int i) {
    codes[i] = load_streaming(codes_at + i * kCodeLoads);
    scales[i] = load_streaming(scales_at + i * kScaleWords);
  };

  int slot = begin / w.row_tiles, row_tile = begin % w.row_tiles;
  int speaker = nth_bit(chosen.first, slot), expert = __shfl_sync(kAllLanes, chosen.expert, speaker);
  find(expert, row_tile);
#pragma unroll
  for (int i = 0; i < kPartTiles; ++i) {
    if (i < tiles) load(i);
  }

  __shared__ __align__(16) float parts[2][kParts][kWarp][4];  // written as float4
  const int column = threadIdx.x % kTokenTile, row = threadIdx.x / kTokenTile;  // 64 threads add up a sum of each
  uint4 values[kPartTiles][2];
  int pair_of_column = -1;
  for (int at = begin; at < end; ++at) {
    if (at == begin || row_tile == 0) {
      const uint32_t pairs = __shfl_sync(kAllLanes, chosen.pairs, speaker);
      pair_of_column = nth_bit(pairs, column);
      const int pair = nth_bit(pairs, g);
      const bf16* from = inputs.rows + size_t(inputs.row_of_pair(pair < 0 ? 0 : pair)) * inputs.stride;
#pragma unroll
      for (int i = 0; i < kPartTiles; ++i) {
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          const int col = (first_tile + i) * kExpertColTile + h * kMxBlock + 8 * t;
          values[i][h] = uint4{};
          if (pair >= 0 && i < tiles && col < inputs.cols) values[i][h] = *reinterpret_cast<const uint4*>(from + col);
        }
      }
    }
    const int this_row_tile = row_tile, tile_of_all = expert * w.row_tiles + row_tile;
    const bool finishes = row < kRowTile / 2 && pair_of_column >= 0;
    float2 bias{};
    if (finishes) bias = epilogue.biases(tile_of_all, row);

    const bool more = at + 1 < end;
    if (more && ++row_tile == w.row_tiles) {
      row_tile = 0;
      speaker = nth_bit(chosen.first, ++slot);
      expert = __shfl_sync(kAllLanes, chosen.expert, speaker);
    }
    if (more) find(expert, row_tile);
    float sums[4] = {};
#pragma unroll
    for (int i = 0; i < kPartTiles; ++i) {
      if (i >= tiles) break;
      const WeightFragments left = dequantize({codes[i].x, codes[i].y}, unpack_scales(scales[i], 0));
      const WeightFragments right = dequantize({codes[i].z, codes[i].w}, unpack_scales(scales[i], 1));
      if (more) load(i);
      mma_m16n8k16(sums, left.first, {values[i][0].x, values[i][0].y});
      mma_m16n8k16(sums, left.second, {values[i][0].z, values[i][0].w});
      mma_m16n8k16(sums, right.first, {values[i][1].x, values[i][1].y});
      mma_m16n8k16(sums, right.second, {values[i][1].z, values[i][1].w});
    }

    // The parts meet in shared memory. Two sets of places: who comes round with the next tile need not wait again.
    auto& meeting = parts[at % 2];
    *reinterpret_cast<float4*>(meeting[part][lane]) = {sums[0], sums[1], sums[2], sums[3]};
    __syncthreads();
    if (finishes) {
      float low = 0, high = 0;
#pragma unroll
      for (int p = 0; p < kParts; ++p) {
        const float* of_lane = meeting[p][4 * row + column / 2];
        low += of_lane[column % 2];
        high += of_lane[column % 2 + 2];
      }
      epilogue.store(this_row_tile, row, pair_of_column, low + bias.x, high + bias.y);
    }
  }
}

// --- more tokens: pairs by expert ------------------------------------------------------------------------------------

struct WorkItem {
  int32_t expert, first;  // of its pairs, into `pairs`
};
struct Lists {
  WorkItem* items;  // [1 + items]: items[0].first = their number
  int32_t* begin;   // [experts + 1] of an expert's pairs
  int32_t* pairs;   // by expert, then in order
};

constexpr int kSortThreads = 512, kSortWarps = kSortThreads / kWarp;

__device__ __forceinline__ int sum_of_lanes_up_to_mine(int value) {
  const int lane = threadIdx.x % kWarp;
#pragma unroll
  for (int offset = 1; offset < kWarp; offset *= 2) {
    const int other = __shfl_up_sync(kAllLanes, value, offset);
    if (lane >= offset) value += other;
  }
  return value;
}

// A stable counting sort in one block: the order of a list is that of its pairs, whatever the threads do.
__global__ void __launch_bounds__(kSortThreads)
    sort_pairs_kernel(int experts, int top_k, const int32_t* num_tokens, const int32_t* index /*[tokens, top_k]*/,
                      Lists to) {
  __shared__ int next[kMaxExperts];                 // where an expert's next pair goes
  __shared__ int places[kSortWarps][kMaxExperts];   // the same for each warp's share of a round
  const int pairs = *num_tokens * top_k, warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;

  for (int e = threadIdx.x; e < experts; e += kSortThreads) next[e] = 0;
  __syncthreads();
  for (int p = threadIdx.x; p < pairs; p += kSortThreads) atomicAdd(&next[index[p]], 1);
  __syncthreads();
  if (warp == 0) {
    int pairs_before = 0, items_before = 0;
    for (int e = lane; e - lane < experts; e += kWarp) {
      const int count = e < experts ? next[e] : 0, items = divide_up(count, kExpertTokenTile);
      const int pairs_after = pairs_before + sum_of_lanes_up_to_mine(count);
      const int items_after = items_before + sum_of_lanes_up_to_mine(items);
      const int begin = pairs_after - count;
      if (e < experts) {
        next[e] = to.begin[e] = begin;
        for (int i = 0; i < items; ++i) to.items[1 + items_after - items + i] = {e, begin + i * kExpertTokenTile};
      }
      pairs_before = __shfl_sync(kAllLanes, pairs_after, kWarp - 1);
      items_before = __shfl_sync(kAllLanes, items_after, kWarp - 1);
    }
    if (lane == 0) {
      to.begin[experts] = pairs;
      to.items[0] = {0, items_before};
    }
  }

  for (int round = 0; round < pairs; round += kSortThreads) {
    const int pair = round + threadIdx.x;
    const bool there = pair < pairs;
    const int expert = there ? index[pair] : 0;
    for (int i = threadIdx.x; i < kSortWarps * kMaxExperts; i += kSortThreads) {
      places[i / kMaxExperts][i % kMaxExperts] = 0;
    }
    __syncthreads();
    uint32_t same = __ballot_sync(kAllLanes, there);
#pragma unroll
    for (int bit = 1; bit < kMaxExperts; bit *= 2) {
      const uint32_t with = __ballot_sync(kAllLanes, (expert & bit) != 0);
      same &= (expert & bit) != 0 ? with : ~with;
    }
    const int rank = __popc(same & ((1u << lane) - 1u));
    if (there && rank == 0) places[warp][expert] = __popc(same);
    __syncthreads();
    for (int e = threadIdx.x; e < experts; e += kSortThreads) {
      int place = next[e];
      for (int other = 0; other < kSortWarps; ++other) {
        const int count = places[other][e];
        places[other][e] = place;
        place += count;
      }
      next[e] = place;
    }
    __syncthreads();
    if (there) to.pairs[places[warp][expert] + rank] = pair;
    __syncthreads();
  }
}

// One block per work item and 8 * kRowTiles row tiles; a warp has kRowTiles of them and all of the item's pairs. In
// shared memory a stage is one column tile: codes and scales as they are packed, then 128 bytes of each pair's row.
// Their halves change places in odd rows: eight lanes then read from all banks.
template <int kRowTiles>
struct ManyPairs {
  static constexpr int kBlockRowTiles = kParts * kRowTiles, kTokenTiles = kExpertTokenTile / kTokenTile;
  static constexpr int kSomeTokenTiles = kTokenTiles / 2;
  static constexpr int kScaleLoads = kBlockRowTiles * kScaleWords / 4;  // of 16 bytes
  static constexpr int kInputs = kBlockRowTiles * kCodeLoads + kScaleLoads;  // where the pairs begin
  static constexpr int kStageLoads = kInputs + kExpertTokenTile * kTokenLoads;
  // 76 KB, of which a multiprocessor holds two, and 66 KB where a block has it alone.
  static constexpr int kStages = kRowTiles == 1 ? 6 : 4;
  static constexpr size_t kShared = size_t(kStages) * kStageLoads * sizeof(uint4);
};

__device__ __forceinline__ int place_of_token_load(int row, int load) {
  return row * kTokenLoads + (load ^ (row % 2 * 4));
}

template <int kRowTiles, typename Epilogue>
__global__ void __launch_bounds__(kThreads, kRowTiles == 1 ? 2 : 1)
    many_pairs_kernel(PackedMatrix w, Lists lists, Inputs inputs, Epilogue epilogue) {
  using Shape = ManyPairs<kRowTiles>;
  if (int(blockIdx.y) >= lists.items[0].first) return;
  const WorkItem item = lists.items[1 + blockIdx.y];
  const int first_row_tile = blockIdx.x * Shape::kBlockRowTiles;
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
  uint4* stages = dynamic_shared<uint4>();  // [stage, [row tile, lane], [row tile, g], [pair, 8]]

  const int rows = min(lists.begin[item.expert + 1] - item.first, kExpertTokenTile);
  // Tiles of tokens in the first half may be left out one by one. The second half comes as a whole, if need be with
  // zeros: without a choice at each, loads and mma overlap better.
  const int some = divide_up(rows, kTokenTile);
  const bool all = some > Shape::kSomeTokenTiles;

  // What this thread brings in every stage, counted in 16 bytes: codes of a row tile, perhaps scales of one, and eight
  // columns of one pair of each half, in the first `full` column tiles. The rest becomes zero.
  const auto first_of_row_tile = [&](int row_tile) {  // past the last: read again, and dropped below
    return uint32_t(item.expert * w.row_tiles + min(row_tile, w.row_tiles - 1)) * w.col_tiles;
  };
  uint32_t codes_from[kRowTiles];
#pragma unroll
  for (int i = 0; i < kRowTiles; ++i)
    codes_from[i] = first_of_row_tile(first_row_tile + i * kParts + warp) * kCodeLoads + lane;
  constexpr int kScaleLoads = kScaleWords / 4;  // of a tile
  const uint32_t scales_from =
      first_of_row_tile(first_row_tile + threadIdx.x / kScaleLoads) * kScaleLoads + threadIdx.x % kScaleLoads;
  constexpr int kHalf = kThreads / kTokenLoads;
  static_assert(kHalf == Shape::kSomeTokenTiles * kTokenTile && 2 * kHalf == kExpertTokenTile);
  const int my_load = threadIdx.x % kTokenLoads, my_row = threadIdx.x / kTokenLoads;
  const int my_place = Shape::kInputs + place_of_token_load(my_row, my_load);
  uint32_t inputs_from[2];
  int full[2];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int row = my_row + i * kHalf;
    const bool there = row < rows;
    inputs_from[i] = inputs.row_of_pair(there ? lists.pairs[item.first + row] : 0) * (inputs.stride / 8) + my_load;
    full[i] = there ? (inputs.cols - my_load * 8 + kExpertColTile - 1) / kExpertColTile : 0;
  }
  int filling = 0;  // the stage that is filled next
  const auto load = [&](int col_tile) {
    if (col_tile < w.col_tiles) {
      uint4* stage = stages + filling * Shape::kStageLoads;
#pragma unroll
      for (int i = 0; i < kRowTiles; ++i)
        cp_async_16(stage + i * kThreads + threadIdx.x, w.codes + codes_from[i] + col_tile * kCodeLoads);
      if (int(threadIdx.x) < Shape::kScaleLoads)
        cp_async_16(stage + Shape::kBlockRowTiles * kCodeLoads + threadIdx.x,
                    w.scales + (scales_from + col_tile * kScaleLoads) * 4);
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        if (i == 1 && !all) break;
        cp_async_16(stage + my_place + i * kThreads, inputs.rows + size_t(inputs_from[i] + col_tile * kTokenLoads) * 8,
                    col_tile < full[i]);
      }
    }
    cp_async_commit();  // a group per stage, empty behind the last: so that waiting can count them
    filling = filling + 1 == Shape::kStages ? 0 : filling + 1;
  };
#pragma unroll
  for (int s = 0; s < Shape::kStages - 1; ++s) load(s);

  const int my_row_tile = warp * kRowTiles;
  float totals[kRowTiles][Shape::kTokenTiles][4] = {};
  float sums[kRowTiles][Shape::kTokenTiles][4] = {};
  int part = 0, part_end = first_tile_of_part(1, w.col_tiles), reading = 0;
#pragma unroll 1
  for (int col_tile = 0; col_tile < w.col_tiles; ++col_tile) {
    cp_async_wait<Shape::kStages - 2>();
    __syncthreads();  // this stage has come for all threads, and all have left the one before, which is filled next
    load(col_tile + Shape::kStages - 1);
    const uint4* stage = stages + reading * Shape::kStageLoads;
    const uint32_t* stage_scales = reinterpret_cast<const uint32_t*>(stage + Shape::kBlockRowTiles * kCodeLoads);
    reading = reading + 1 == Shape::kStages ? 0 : reading + 1;
    uint4 codes[kRowTiles];
    uint32_t scales[kRowTiles];
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r) {
      codes[r] = stage[(my_row_tile + r) * kCodeLoads + lane];
      scales[r] = stage_scales[(my_row_tile + r) * kScaleWords + g];
    }
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      WeightFragments weights[kRowTiles];
#pragma unroll
      for (int r = 0; r < kRowTiles; ++r) {
        const CodeWords words = h == 0 ? CodeWords{codes[r].x, codes[r].y} : CodeWords{codes[r].z, codes[r].w};
        weights[r] = dequantize(words, unpack_scales(scales[r], h));
      }
      const auto multiply = [&](int n) {
        const uint4 values = stage[Shape::kInputs + place_of_token_load(n * kTokenTile + g, 4 * h + t)];
#pragma unroll
        for (int r = 0; r < kRowTiles; ++r) {
          mma_m16n8k16(sums[r][n], weights[r].first, {values.x, values.y});
          mma_m16n8k16(sums[r][n], weights[r].second, {values.z, values.w});
        }
      };
      if (all) {
#pragma unroll
        for (int n = 0; n < Shape::kTokenTiles; ++n) multiply(n);
      } else {
#pragma unroll
        for (int n = 0; n < Shape::kSomeTokenTiles; ++n) {
          if (n < some) multiply(n);
        }
      }
    }
    if (col_tile + 1 < part_end) continue;
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r) {
#pragma unroll
      for (int n = 0; n < Shape::kTokenTiles; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          totals[r][n][i] += sums[r][n][i];
          sums[r][n][i] = 0;
        }
      }
    }
    do part_end = first_tile_of_part(++part + 1, w.col_tiles);
    while (part_end <= col_tile + 1);  // parts without a tile: adding their 0 would change nothing
  }

  // Asked for again rather than kept in registers, which are all in use above.
  const WorkItem done = lists.items[1 + blockIdx.y];
  const int done_rows = lists.begin[done.expert + 1] - done.first;
#pragma unroll
  for (int r = 0; r < kRowTiles; ++r) {
    const int row_tile = first_row_tile + my_row_tile + r;
    if (row_tile >= w.row_tiles) break;
    const float2 bias = epilogue.biases(done.expert * w.row_tiles + row_tile, g);
#pragma unroll
    for (int n = 0; n < Shape::kTokenTiles; ++n) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int column = n * kTokenTile + 2 * t + i;
        if (column >= done_rows) break;
        epilogue.store(row_tile, g, lists.pairs[done.first + column], totals[r][n][i] + bias.x,
                       totals[r][n][i + 2] + bias.y);
      }
    }
  }
}

// --- the sum over a token's experts ----------------------------------------------------------------------------------

constexpr int kSumThreads = 128;

// One block per token and 512 columns, four for each thread.
__global__ void sum_experts_kernel(int hidden, int top_k, const int32_t* num_tokens,
                                   const float* weight /*[tokens, top_k]*/,
                                   const float* out /*[tokens, top_k, hidden]*/, float* x /*[tokens, hidden]*/) {
  const int token = blockIdx.y, column = (blockIdx.x * kSumThreads + threadIdx.x) * 4;
  if (token >= *num_tokens || column >= hidden) return;
  float4 total{};
  for (int k = 0; k < top_k; ++k) {
    const size_t pair = size_t(token) * top_k + k;
    const float4 of_expert = *reinterpret_cast<const float4*>(out + pair * hidden + column);
    const float share = weight[pair];
    total.x = fmaf(share, of_expert.x, total.x);
    total.y = fmaf(share, of_expert.y, total.y);
    total.z = fmaf(share, of_expert.z, total.z);
    total.w = fmaf(share, of_expert.w, total.w);
  }
  float4* to = reinterpret_cast<float4*>(x + size_t(token) * hidden + column);
  const float4 before = *to;
  *to = {before.x + total.x, before.y + total.y, before.z + total.z, before.w + total.w};
}

// --- launches --------------------------------------------------------------------------------------------------------

// Of the first device that asks; another one is merely not filled as evenly.
int multiprocessors() {
  static const int count = [] {
    int device = 0;
    cudaDeviceProp properties{};
    if (cudaGetDevice(&device) != cudaSuccess || cudaGetDeviceProperties(&properties, device) != cudaSuccess) return 1;
    return properties.multiProcessorCount;
  }();
  return count;
}

template <typename Epilogue>
Status multiply_few(const ExpertsArgs& args, const int32_t* num_tokens, const int32_t* index, const PackedMatrix& w,
                    const Inputs& inputs, const Epilogue& epilogue, Stream stream) {
  const int most = min(args.experts, args.tokens * args.top_k) * w.row_tiles;
  return launch(few_pairs_kernel<Epilogue>,
                {.grid = dim3(min(2 * multiprocessors(), most)), .block = dim3(kThreads), .stream = stream}, w,
                args.top_k, num_tokens, index, inputs, epilogue);
}

template <int kRowTiles, typename Epilogue>
Status multiply_many(const ExpertsArgs& args, const Lists& lists, const PackedMatrix& w, const Inputs& inputs,
                     const Epilogue& epilogue, Stream stream) {
  using Shape = ManyPairs<kRowTiles>;
  const int pairs = args.tokens * args.top_k, items = min(args.experts, pairs) + pairs / kExpertTokenTile;
  return launch(many_pairs_kernel<kRowTiles, Epilogue>,
                {.grid = dim3(divide_up(w.row_tiles, Shape::kBlockRowTiles), items),
                 .block = dim3(kThreads),
                 .shared = Shape::kShared,
                 .stream = stream},
                w, lists, inputs, epilogue);
}

}  // namespace

Status experts(const ExpertsArgs& args, const int32_t* num_tokens, const bf16* normed, const int32_t* index,
               const float* weight, const PackedExperts& gate_up, const PackedExperts& down, void* scratch, float* x,
               Stream stream) {
  if (args.tokens == 0) return cudaSuccess;
  const int hidden_tiles = int(tiles_of(args.hidden, kExpertColTile));
  const int intermediate_tiles = int(tiles_of(args.intermediate, kExpertColTile));
  if (args.hidden % kMxBlock != 0 || args.intermediate % kMxBlock != 0 || args.experts > kMaxExperts ||
      max(hidden_tiles, intermediate_tiles) > kParts * kPartTiles)
    return cudaErrorInvalidValue;

  const ExpertsScratch at = experts_scratch(args.tokens, args.top_k, args.experts, args.hidden, args.intermediate);
  char* base = static_cast<char*>(scratch);
  const int pairs = args.tokens * args.top_k;
  Lists lists{};
  lists.items = reinterpret_cast<WorkItem*>(base + at.lists);
  lists.begin = reinterpret_cast<int32_t*>(lists.items + pairs + 2);
  lists.pairs = lists.begin + args.experts + 1;
  bf16* act = reinterpret_cast<bf16*>(base + at.activations);
  float* out = reinterpret_cast<float*>(base + at.outputs);

  const auto packed = [](const PackedExperts& w, int row_tiles, int col_tiles) {
    return PackedMatrix{static_cast<const uint4*>(w.codes), static_cast<const uint32_t*>(w.scales), row_tiles,
                        col_tiles};
  };
  const PackedMatrix w1 = packed(gate_up, 2 * args.intermediate / kRowTile, hidden_tiles);
  const PackedMatrix w2 = packed(down, args.hidden / kRowTile, intermediate_tiles);
  const int act_stride = intermediate_tiles * kExpertColTile;
  const Inputs tokens_in = {normed, args.hidden, args.hidden, args.top_k};
  const Inputs act_in = {act, args.intermediate, act_stride, 1};
  const GateUp gate_up_epilogue = {args.limit, args.alpha, gate_up.bias, act, act_stride};
  const Down down_epilogue = {down.bias, out, args.hidden};

  const auto multiply = [&](const PackedMatrix& w, const Inputs& inputs, const auto& epilogue) {
    if (args.tokens <= kFewTokens && pairs <= kFewPairs)
      return multiply_few(args, num_tokens, index, w, inputs, epilogue, stream);
    // Twice the rows per block halve what is read from shared memory, but leave one block per multiprocessor.
    if (args.tokens <= 512) return multiply_many<1>(args, lists, w, inputs, epilogue, stream);
    return multiply_many<2>(args, lists, w, inputs, epilogue, stream);
  };
  Status status = cudaSuccess;
  if (args.tokens > kFewTokens || pairs > kFewPairs) {
    status = launch(sort_pairs_kernel, {.grid = dim3(1), .block = dim3(kSortThreads), .stream = stream}, args.experts,
                    args.top_k, num_tokens, index, lists);
  }
  if (status == cudaSuccess) status = multiply(w1, tokens_in, gate_up_epilogue);
  if (status == cudaSuccess) status = multiply(w2, act_in, down_epilogue);
  if (status != cudaSuccess) return status;
  return launch(sum_experts_kernel,
                {.grid = dim3(divide_up(args.hidden / 4, kSumThreads), args.tokens),
                 .block = dim3(kSumThreads),
                 .stream = stream},
                args.hidden, args.top_k, num_tokens, weight, out, x);
}

}  // namespace oss::cuda
