// Router and experts of one layer for few tokens, with the same bits as `router` and `experts`, in two launches:
//   gate_up   the choice of every token, then act of every pair      down   out of every pair, then their sums into x
//   logits [tokens, experts] f32, normed [tokens, hidden] bf16; the rest as in experts.cu
//
// Traffic: 13.2 MB for each chosen expert. Every block computes the routing from the logits; 4 tokens of 128 experts
// take 2 KB and about 300 instructions. gate_up knows the experts only after its wait, so it cannot prefetch weights
// before. down can: the logits are two launches old, and its weights arrive while gate_up still runs.
//
// The work is every row tile of every chosen expert, one after another. Each block takes an equal run of it, and each
// of its eight warps takes one part of the columns. Each warp has a ring for its weights in shared memory (as in
// matrix_stream.cuh), two row tiles of 3.2 KB ahead: 104 KB in flight per multiprocessor. The other operand is read
// again for each row tile, from L1: keeping it would take 48 registers, and leave no room for a block of the next
// launch.
//
// An expert with more than eight pairs counts as two. The block that completes the outputs of 16 rows sums them into x;
// a counter per row tile finds it. That block differs from run to run; the order of the sum does not.
#include "kernels/cuda/choice.cuh"
#include "kernels/cuda/experts.cuh"
#include "kernels/cuda/plan.h"
#include "kernels/cuda/ptx/bulk_copy.cuh"

namespace oss::cuda {
namespace {

static_assert(kFewPairs <= kExpertThreads);
constexpr int kRoomForBlocks = kExpertBlocks + 1;  // registers for these blocks and one block of the next launch

// The chosen experts and their pairs. In shared memory, the same in every block.
struct Routing {
  int32_t expert[kFewPairs];  // the expert of each pair
  float weight[kFewPairs];
  int32_t rank[kFewPairs];  // rank among the pairs of its expert
  int32_t slots;            // experts with up to eight of their pairs
  int32_t slot_expert[kFewPairs];
  int8_t slot_pairs[kFewPairs][kTokenTile];  // -1: none
};
static_assert(sizeof(Routing) + kExpertThreads * sizeof(bool) <= kExpertStaticBytes, "plan.h counts on it");

// All threads of a block must call.
__device__ __forceinline__ void route(Routing& to, int experts, int top_k, int tokens, const float* logits) {
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp, pair = threadIdx.x, pairs = tokens * top_k;
  for (int token = warp; token < tokens; token += kParts) {
    const Choice choice = choose_experts(experts, top_k, logits + size_t(token) * experts);
    if (lane < top_k) {
      to.expert[token * top_k + lane] = choice.expert;
      to.weight[token * top_k + lane] = choice.weight;
    }
  }
  for (int i = threadIdx.x; i < kFewPairs * kTokenTile; i += kExpertThreads)
    to.slot_pairs[i / kTokenTile][i % kTokenTile] = -1;
  __syncthreads();
  int rank = 0;
  if (pair < pairs) {
    for (int other = 0; other < pair; ++other) rank += to.expert[other] == to.expert[pair];
    to.rank[pair] = rank;
  }
  __syncthreads();
  // A slot begins with every eighth pair of an expert; slots are in the order of these pairs.
  if (pair <= pairs) {
    int opener = pairs;
    if (pair < pairs) {
      for (opener = 0; to.expert[opener] != to.expert[pair] || to.rank[opener] != rank / kTokenTile * kTokenTile;)
        ++opener;
    }
    int slot = 0;
    for (int other = 0; other < opener; ++other) slot += to.rank[other] % kTokenTile == 0;
    if (pair == pairs) {
      to.slots = slot;
    } else {
      to.slot_pairs[slot][rank % kTokenTile] = int8_t(pair);
      to.slot_expert[slot] = to.expert[pair];
    }
  }
  __syncthreads();
}

// A warp's part of the row tiles in this block's run: it loads and multiplies them. There are only 3 KB of weights per
// row tile, so work per row tile counts as much as work per weight. Therefore addresses are advanced, not recomputed.
class PairStream {
 public:
  __device__ __forceinline__ PairStream(const PackedCodes& w, const Routing& routing)
      : w_(w), routing_(routing), lane_(threadIdx.x % kWarp) {
    const int part = same_in_warp(int(threadIdx.x) / kWarp);
    first_tile_ = first_tile_of_part(part, w.col_tiles);
    tiles_ = first_tile_of_part(part + 1, w.col_tiles) - first_tile_;
    parts_ = dynamic_shared<float4>();
    barriers_ = reinterpret_cast<CopyBarrier*>(parts_ + 2 * kParts * kWarp) + part * kExpertStages;
    ring_ = reinterpret_cast<unsigned char*>(parts_ + 2 * kParts * kWarp) +
            kParts * kExpertStages * sizeof(CopyBarrier) + part * kExpertStages * kStage;
    if (lane_ < kExpertStages) init_copies(barriers_ + lane_);
    __syncwarp();
    const int64_t work = int64_t(routing.slots) * w.row_tiles;
    begin = first_of_block(work, blockIdx.x, gridDim.x);
    end = first_of_block(work, blockIdx.x + 1, gridDim.x);
    asked_ = begin;
    asked_slot_ = begin / w.row_tiles;
    asked_row_tile_ = begin % w.row_tiles;
    if (asked_ < end) find_asked_tile();
    for (int stage = 0; stage < kExpertStages; ++stage) ask(stage);
  }

  // rows: the other operand, described by `inputs`.
  template <typename Epilogue>
  __device__ __forceinline__ void multiply(const bf16* rows, const Inputs& inputs, const Epilogue& epilogue) {
    // A thread of the first two warps adds two sums. One warp has all pairs of a slot with up to four pairs.
    const int row = threadIdx.x % kHalfTile, column = threadIdx.x / kHalfTile;
    const int my_col = first_tile_ * kExpertColTile + 8 * (lane_ % 4);
    const bool is_whole = inputs.cols % kExpertColTile == 0;
    int slot = begin / w_.row_tiles, row_tile = begin % w_.row_tiles, stage = 0;
    uint32_t odd = 0, turn = 0;
    for (int left = end - begin; left > 0; ++slot, row_tile = 0) {
      const int8_t* pairs = routing_.slot_pairs[slot];
      const int pair_of_column = column < kTokenTile ? pairs[column] : -1;
      const int tiles_before = routing_.slot_expert[slot] * w_.row_tiles;
      // The sums of a column without a pair are not used: it may read any row, such as that of the first pair.
      const int pair = pairs[lane_ / 4] < 0 ? pairs[0] : pairs[lane_ / 4];
      const bf16* values_at = rows + size_t(inputs.row_of_pair(pair)) * inputs.stride + my_col;
      const int end_row_tile = min(w_.row_tiles, row_tile + left);
      left -= end_row_tile - row_tile;
      for (; row_tile < end_row_tile; ++row_tile, turn ^= 1) {
        float2 bias{};
        if (pair_of_column >= 0) bias = epilogue.biases(tiles_before + row_tile, row);

        float sums[4] = {};
        if (tiles_ > 0) wait_copies(barriers_ + stage, odd);
        const unsigned char* from = ring_ + stage * kStage;
        if (is_whole && tiles_ >= kPartTiles - 1) {
#pragma unroll
          for (int i = 0; i < kPartTiles - 1; ++i) multiply_tile<false>(from, values_at, i, inputs.cols - my_col, sums);
          if (tiles_ == kPartTiles) multiply_tile<false>(from, values_at, kPartTiles - 1, inputs.cols - my_col, sums);
        } else {
#pragma unroll 1
          for (int i = 0; i < tiles_; ++i) multiply_tile<true>(from, values_at, i, inputs.cols - my_col, sums);
        }
        __syncwarp();  // all lanes have read this stage, so it can be filled again
        ask(stage);
        if (++stage == kExpertStages) {
          stage = 0;
          odd ^= 1;
        }

        // The parts meet in shared memory. Two buffers alternate, so that the next tile needs no second wait.
        float4* meeting = parts_ + turn * kParts * kWarp;
        meeting[threadIdx.x] = {sums[0], sums[1], sums[2], sums[3]};
        __syncthreads();
        if (pair_of_column >= 0) {
          float low = 0, high = 0;
#pragma unroll
          for (int p = 0; p < kParts; ++p) {
            const float* of_lane = reinterpret_cast<const float*>(meeting + p * kWarp + 4 * row + column / 2);
            low += of_lane[column % 2];
            high += of_lane[column % 2 + 2];
          }
          epilogue.store(row_tile, row, pair_of_column, low + bias.x, high + bias.y);
        }
        __syncwarp();  // mma.sync.aligned needs all lanes together; lanes without a pair arrive first
      }
    }
  }

  int begin, end;  // this block's run of the work

 private:
  static constexpr int kHalfTile = kRowTile / 2;
  static constexpr int kCodes = kPartTiles * kCodeLoads * int(sizeof(uint4));
  static constexpr int kStage = kCodes + kPartTiles * kScaleWords * int(sizeof(uint32_t));
  static_assert(kStage == expert_stage_bytes(kPartTiles));

  // The i-th column tile of a stage; `cols` columns of the row remain from this lane's first column on.
  template <bool kMayEnd>
  __device__ __forceinline__ void multiply_tile(const unsigned char* from, const bf16* values_at, int i, int cols,
                                                float (&sums)[4]) const {
    const uint4 codes = reinterpret_cast<const uint4*>(from)[i * kCodeLoads + lane_];
    const uint32_t scales = reinterpret_cast<const uint32_t*>(from + kCodes)[i * kScaleWords + lane_ / 4];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int col = i * kExpertColTile + h * kMxBlock;
      uint4 values{};
      if (!kMayEnd || col < cols) values = *reinterpret_cast<const uint4*>(values_at + col);
      const CodeWords words = h == 0 ? CodeWords{codes.x, codes.y} : CodeWords{codes.z, codes.w};
      const WeightFragments weights = dequantize(words, unpack_scales(scales, h));
      mma_m16n8k16(sums, weights.first, {values.x, values.y});
      mma_m16n8k16(sums, weights.second, {values.z, values.w});
    }
  }

  __device__ __forceinline__ void find_asked_tile() {
    asked_tile_ =
        uint32_t(routing_.slot_expert[asked_slot_] * w_.row_tiles + asked_row_tile_) * w_.col_tiles + first_tile_;
  }
  __device__ __forceinline__ void ask(int stage) {
    if (asked_ >= end || tiles_ == 0) return;
    unsigned char* to = ring_ + stage * kStage;
    copy_runs(
        barriers_ + stage,
        Run{to, w_.codes + size_t(asked_tile_) * kCodeLoads, uint32_t(tiles_) * kCodeLoads * uint32_t(sizeof(uint4))},
        Run{to + kCodes, w_.scales + size_t(asked_tile_) * kScaleWords,
            uint32_t(tiles_) * kScaleWords * uint32_t(sizeof(uint32_t))});
    ++asked_;
    asked_tile_ += w_.col_tiles;
    if (++asked_row_tile_ < w_.row_tiles) return;
    asked_row_tile_ = 0;
    ++asked_slot_;
    if (asked_ < end) find_asked_tile();
  }

  const PackedCodes& w_;
  const Routing& routing_;
  const int lane_;
  int first_tile_, tiles_;
  float4* parts_;  // [2, part, lane]
  CopyBarrier* barriers_;
  unsigned char* ring_;
  int asked_, asked_slot_, asked_row_tile_;
  uint32_t asked_tile_;  // index among the tiles of all experts
};

__global__ void __launch_bounds__(kExpertThreads, kRoomForBlocks)
    few_gate_up_kernel(PackedCodes w, int experts, int top_k, const int32_t* num_tokens,
                       Earlier<const float> logits /*[tokens, experts]*/,
                       Earlier<const bf16> normed /*[tokens, hidden]*/, Inputs inputs, GateUp epilogue) {
  __shared__ Routing routing;
  const Waited waited = wait_for_earlier();
  route(routing, experts, top_k, *num_tokens, logits(waited));
  PairStream stream(w, routing);
  stream.multiply(normed(waited), inputs, epilogue);
}

// Adds weight[t,k] · out[t,k] to x[t], in the order of k, for a tile's 16 rows and all tokens. All threads must call.
__device__ __forceinline__ void sum_row_tile(const Routing& routing, int row_tile, int top_k, int tokens, int hidden,
                                             const float* out, float* x) {
  for (int i = threadIdx.x; i < tokens * kRowTile; i += kExpertThreads) {
    const int token = i / kRowTile, row = row_tile * kRowTile + i % kRowTile;
    float total = 0;
    for (int pair = token * top_k; pair < (token + 1) * top_k; ++pair)
      total = fmaf(routing.weight[pair], __ldcg(out + size_t(pair) * hidden + row), total);
    x[size_t(token) * hidden + row] += total;
  }
}

__global__ void __launch_bounds__(kExpertThreads, kRoomForBlocks)
    few_down_kernel(PackedCodes w, int experts, int top_k, const int32_t* num_tokens,
                    const float* logits /*[tokens, experts], of the launch before the last*/,
                    Earlier<const bf16> act /*[pairs, stride]*/, Inputs inputs, Down epilogue,
                    int32_t* done /*[row_tiles]*/, float* x /*[tokens, hidden]*/) {
  __shared__ Routing routing;
  __shared__ bool complete[kExpertThreads];
  const int tokens = __ldcg(num_tokens);
  route(routing, experts, top_k, tokens, logits);
  PairStream stream(w, routing);
  const Waited waited = wait_for_earlier();
  stream.multiply(act(waited), inputs, epilogue);

  // The block that counts the last output of a row tile can read all of them.
  __threadfence();
  for (int first = stream.begin; first < stream.end; first += kExpertThreads) {
    __syncthreads();
    const int at = first + int(threadIdx.x);
    complete[threadIdx.x] = at < stream.end && atomicAdd(done + at % w.row_tiles, 1) == routing.slots - 1;
    __syncthreads();
    __threadfence();
    for (int i = 0; i < min(kExpertThreads, stream.end - first); ++i) {
      if (!complete[i]) continue;
      const int row_tile = (first + i) % w.row_tiles;
      sum_row_tile(routing, row_tile, top_k, tokens, epilogue.stride, epilogue.out, x);
      if (threadIdx.x == 0) done[row_tile] = 0;
    }
  }
}

}  // namespace

Status few_experts(const ExpertsArgs& args, const int32_t* num_tokens, const float* logits, const bf16* normed,
                   const PackedExperts& gate_up, const PackedExperts& down, void* scratch, float* x, Stream stream) {
  if (args.tokens == 0) return cudaSuccess;
  const int pairs = args.tokens * args.top_k;
  if (!experts_fit(args) || pairs > kFewPairs || args.top_k > kWarp || args.top_k > args.experts)
    return cudaErrorInvalidValue;
  const ExpertsBuffers at(args, scratch);
  const PackedCodes w1 = packed_codes(gate_up, 2 * args.intermediate, args.hidden);
  const PackedCodes w2 = packed_codes(down, args.hidden, args.intermediate);
  const Resources gpu = resources();
  const auto how = [&](const PackedCodes& w) {
    return Launch{.grid = dim3(plan_expert_stream(min(args.experts, pairs) * w.row_tiles, gpu)),
                  .block = dim3(kExpertThreads),
                  .shared = expert_shared_bytes(),
                  .stream = stream};
  };
  const Status status = launch(few_gate_up_kernel, how(w1), w1, args.experts, args.top_k, num_tokens, logits, normed,
                               Inputs{args.hidden, args.hidden, args.top_k},
                               GateUp{args.limit, args.alpha, gate_up.bias, at.act, at.act_stride});
  if (status != cudaSuccess) return status;
  return launch(few_down_kernel, how(w2), w2, args.experts, args.top_k, num_tokens, logits, at.act,
                Inputs{args.intermediate, at.act_stride, 1}, Down{down.bias, at.out, args.hidden}, at.done, x);
}

}  // namespace oss::cuda
