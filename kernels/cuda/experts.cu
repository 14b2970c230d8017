// The experts of one layer. For each pair p = (t, k) of a token and its k-th expert e = index[t,k]:
//   gate[i] = W1[2i]·normed[t] + b1[2i]    up[i] = W1[2i+1]·normed[t] + b1[2i+1]    act[p,i] = swiglu(gate[i], up[i])
//   out[p,r] = W2[r]·act[p] + b2[r]          x[t] += Σ_k weight[t,k] · out[p], in the order of k
//   W1  [2·intermediate, hidden]  in kRowsGateUp, W2  [hidden, intermediate]  in kRowsPlain: MXFP4 of pack_experts.cu
//   normed, act  bf16      out, x and all sums  float32
//
// Traffic: 17 bytes per 32 weights, once per chosen expert: 13.2 MB in either model, 12.3 us for the four experts of
// one token at 4.3 TB/s. Memory-bound up to about 100 tokens per expert; then 6·intermediate·hidden FLOP per pair.
//
// Weights are the 16-row operand of mma.m16n8k16 and tokens the 8 columns; each lane dequantises the weights that it
// multiplies. An SM must dequantise 61 weights per nanosecond and has 112 logical operations; mxfp4.cuh uses 1.03 per
// weight.
//
// A sum has one fixed order, independent of the rest of the step and of the kernel. The number of column tiles alone
// determines kParts parts. Each part is summed from zero by one mma after the other, then 0 + part 0 + ...
//
// First, pairs are sorted by expert; then a block multiplies up to kExpertTokenTile of them. few_experts.cu does the
// same for a few tokens. experts_low_rank adds the terms of adapters to the sums: to gate and up before the SwiGLU, and
// to out.
#include "kernels/cuda/experts.cuh"
#include "kernels/cuda/low_rank.cuh"
#include "kernels/cuda/ptx/cp_async.cuh"
#include "kernels/cuda/sort_pairs.cuh"

namespace oss::cuda {
namespace {

// One block per work item and 8 * kRowTiles row tiles; a warp has kRowTiles of them and all pairs of the item. In
// shared memory, a stage is one column tile: codes and scales as packed, then 128 bytes of each pair's row. Odd rows
// have their halves swapped, so that eight lanes read from all banks.
template <int kRowTiles>
struct ManyPairs {
  static constexpr int kBlockRowTiles = kParts * kRowTiles, kTokenTiles = kExpertTokenTile / kTokenTile;
  static constexpr int kSomeTokenTiles = kTokenTiles / 2;
  static constexpr int kScaleLoads = kBlockRowTiles * kScaleWords / 4;       // loads of 16 bytes
  static constexpr int kInputs = kBlockRowTiles * kCodeLoads + kScaleLoads;  // index of the first pair's data
  static constexpr int kStageLoads = kInputs + kExpertTokenTile * kTokenLoads;
  // 76 KB, so that two blocks fit a multiprocessor, or 66 KB for one block.
  static constexpr int kStages = kRowTiles == 1 ? 6 : 4;
  static constexpr size_t kShared = size_t(kStages) * kStageLoads * sizeof(uint4);
};

__device__ __forceinline__ int place_of_token_load(int row, int load) {
  return row * kTokenLoads + (load ^ (row % 2 * 4));
}

template <int kRowTiles, typename Epilogue>
__global__ void __launch_bounds__(kExpertThreads, kRowTiles == 1 ? 2 : 1)
    many_pairs_kernel(PackedCodes w, Lists lists, const bf16* rows_of_inputs, Inputs inputs, Epilogue epilogue) {
  using Shape = ManyPairs<kRowTiles>;
  if (int(blockIdx.y) >= lists.items[0].first) return;
  const WorkItem item = lists.items[1 + blockIdx.y];
  const int first_row_tile = blockIdx.x * Shape::kBlockRowTiles;
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
  uint4* stages = dynamic_shared<uint4>();  // [stage, [row tile, lane], [row tile, g], [pair, 8]]

  const int rows = min(lists.begin[item.expert + 1] - item.first, kExpertTokenTile);
  // Unused token tiles of the first half are skipped one by one. The second half is used as a whole, with zeros where
  // needed: without a branch at each tile, loads and mma overlap better.
  const int some = divide_up(rows, kTokenTile);
  const bool all = some > Shape::kSomeTokenTiles;

  // The data that this thread loads in every stage, in units of 16 bytes: codes of a row tile, perhaps scales of one,
  // and eight columns of one pair of each half, in the first `full` column tiles. The rest becomes zero.
  const auto first_of_row_tile = [&](int row_tile) {  // past the last: read again, and dropped below
    return uint32_t(item.expert * w.row_tiles + min(row_tile, w.row_tiles - 1)) * w.col_tiles;
  };
  uint32_t codes_from[kRowTiles];
#pragma unroll
  for (int i = 0; i < kRowTiles; ++i)
    codes_from[i] = first_of_row_tile(first_row_tile + i * kParts + warp) * kCodeLoads + lane;
  constexpr int kScaleLoads = kScaleWords / 4;  // loads of a tile
  const uint32_t scales_from =
      first_of_row_tile(first_row_tile + threadIdx.x / kScaleLoads) * kScaleLoads + threadIdx.x % kScaleLoads;
  constexpr int kHalf = kExpertThreads / kTokenLoads;
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
  int filling = 0;  // the next stage to fill
  const auto load = [&](int col_tile) {
    if (col_tile < w.col_tiles) {
      uint4* stage = stages + filling * Shape::kStageLoads;
#pragma unroll
      for (int i = 0; i < kRowTiles; ++i)
        cp_async_16(stage + i * kExpertThreads + threadIdx.x, w.codes + codes_from[i] + col_tile * kCodeLoads);
      if (int(threadIdx.x) < Shape::kScaleLoads)
        cp_async_16(stage + Shape::kBlockRowTiles * kCodeLoads + threadIdx.x,
                    w.scales + (scales_from + col_tile * kScaleLoads) * 4);
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        if (i == 1 && !all) break;
        cp_async_16(stage + my_place + i * kExpertThreads,
                    rows_of_inputs + size_t(inputs_from[i] + col_tile * kTokenLoads) * 8, col_tile < full[i]);
      }
    }
    cp_async_commit();  // one group per stage, empty after the last one, so that waits can count groups
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
    __syncthreads();  // this stage is complete, and all threads have left the previous one, which is filled next
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
    while (part_end <= col_tile + 1);  // parts without a tile: adding their 0 changes nothing
  }

  // Read again, since all registers were in use above.
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

template <int kRowTiles, typename Epilogue>
Status multiply_many(const ExpertsArgs& args, const Lists& lists, const PackedCodes& w, const bf16* rows,
                     const Inputs& inputs, const Epilogue& epilogue, Stream stream) {
  using Shape = ManyPairs<kRowTiles>;
  const int pairs = args.tokens * args.top_k, items = min(args.experts, pairs) + pairs / kExpertTokenTile;
  return launch(many_pairs_kernel<kRowTiles, Epilogue>,
                {.grid = dim3(divide_up(w.row_tiles, Shape::kBlockRowTiles), items),
                 .block = dim3(kExpertThreads),
                 .shared = Shape::kShared,
                 .stream = stream},
                w, lists, rows, inputs, epilogue);
}

// The epilogues with the terms of adapters. Row i of t belongs to pair i.
struct GateUpWithTerms : GateUp {
  LowRankTerms terms;
  __device__ __forceinline__ void store(int row_tile, int g, int pair, float gate, float up) const {
    const int row = row_tile * kRowTile + 2 * g;
    terms.add(pair, row, row + 1, gate, up);
    GateUp::store(row_tile, g, pair, gate, up);
  }
};
struct DownWithTerms : Down {
  LowRankTerms terms;
  __device__ __forceinline__ void store(int row_tile, int g, int pair, float low, float high) const {
    const int row = row_tile * kRowTile + g;
    terms.add(pair, row, row + 8, low, high);
    Down::store(row_tile, g, pair, low, high);
  }
};

// What the products and the sum over experts read and write.
struct Layer {
  const int32_t* num_tokens;
  const bf16* normed;
  const int32_t* index;
  const float* weight;
  const PackedExperts &gate_up, &down;
  float* x;
};

// `between` queues what the second product needs besides the activations.
template <typename GateUpEpilogue, typename DownEpilogue, typename Between>
Status run(const ExpertsArgs& args, const Layer& layer, const ExpertsBuffers& at, const GateUpEpilogue& gate_up,
           const DownEpilogue& down, const Between& between, Stream stream) {
  Lists lists{};
  lists.items = static_cast<WorkItem*>(at.lists);
  lists.begin = reinterpret_cast<int32_t*>(lists.items + args.tokens * args.top_k + 2);
  lists.pairs = lists.begin + args.experts + 1;

  const auto multiply = [&](const PackedCodes& w, const bf16* rows, const Inputs& inputs, const auto& epilogue) {
    // Twice the rows per block halve what is read from shared memory, but leave one block per multiprocessor.
    if (args.tokens <= 512) return multiply_many<1>(args, lists, w, rows, inputs, epilogue, stream);
    return multiply_many<2>(args, lists, w, rows, inputs, epilogue, stream);
  };
  Status status = sort_pairs(args, layer.num_tokens, layer.index, lists, stream);
  if (status == cudaSuccess)
    status = multiply(packed_codes(layer.gate_up, 2 * args.intermediate, args.hidden), layer.normed,
                      {args.hidden, args.hidden, args.top_k}, gate_up);
  if (status == cudaSuccess) status = between();
  if (status == cudaSuccess)
    status = multiply(packed_codes(layer.down, args.hidden, args.intermediate), at.act,
                      {args.intermediate, at.act_stride, 1}, down);
  if (status != cudaSuccess) return status;
  return launch(sum_experts_kernel,
                {.grid = dim3(divide_up(args.hidden / 4, kSumThreads), args.tokens),
                 .block = dim3(kSumThreads),
                 .stream = stream},
                args.hidden, args.top_k, layer.num_tokens, layer.weight, at.out, layer.x);
}

GateUp gate_up_epilogue(const ExpertsArgs& args, const PackedExperts& w, const ExpertsBuffers& at) {
  return {args.limit, args.alpha, w.bias, at.act, at.act_stride};
}

}  // namespace

Status experts(const ExpertsArgs& args, const int32_t* num_tokens, const bf16* normed, const int32_t* index,
               const float* weight, const PackedExperts& gate_up, const PackedExperts& down, void* scratch, float* x,
               Stream stream) {
  if (args.tokens == 0) return cudaSuccess;
  if (!experts_fit(args)) return cudaErrorInvalidValue;
  const ExpertsBuffers at(args, scratch);
  return run(
      args, {num_tokens, normed, index, weight, gate_up, down, x}, at, gate_up_epilogue(args, gate_up, at),
      Down{down.bias, at.out, args.hidden}, [] { return Status(cudaSuccess); }, stream);
}

Status experts_low_rank(const ExpertsArgs& args, const LowRankStep& step, const ExpertTerms& numbers,
                        const int32_t* num_tokens, const bf16* normed, const int32_t* index, const float* weight,
                        const PackedExperts& gate_up, const PackedExperts& down, void* scratch, float* x,
                        Stream stream) {
  if (args.tokens == 0) return cudaSuccess;
  if (!experts_fit(args)) return cudaErrorInvalidValue;
  const ExpertsBuffers at(args, scratch);
  const auto rows = [&](int number) {
    return LowRankRows{
        .adapters = step.adapters, .token_of_row = nullptr, .expert = index, .number = number, .per_row = args.top_k};
  };
  const auto sums = [&](int number, const LowRankInputs& inputs) {
    return low_rank_sums(rows(number), args.tokens, num_tokens, inputs, step.sums, stream);
  };
  const Status status =
      sums(numbers.gate_up,
           {.x = normed, .x_low = nullptr, .in = args.hidden, .stride = args.hidden, .rows_per_x = args.top_k});
  if (status != cudaSuccess) return status;
  const auto between = [&] {  // the terms of gate_up are in act: their sums can be overwritten
    return sums(numbers.down,
                {.x = at.act, .x_low = nullptr, .in = args.intermediate, .stride = at.act_stride, .rows_per_x = 1});
  };
  return run(args, {num_tokens, normed, index, weight, gate_up, down, x}, at,
             GateUpWithTerms{gate_up_epilogue(args, gate_up, at), {rows(numbers.gate_up), step.sums}},
             DownWithTerms{{down.bias, at.out, args.hidden}, {rows(numbers.down), step.sums}}, between, stream);
}

}  // namespace oss::cuda
