// The products of linear and qkv:  sums[o, t] = Σ_k w[o, k] · x[t, k]
//   w  bf16 in 16 x 32 tiles of pack_matrix.cu      x  [tokens, cols]  bf16, rows contiguous      sums  float32
//
// Weights are the 16-row operand of mma.m16n8k16 and tokens the 8 columns, so that one token costs as much as eight.
//
// A sum has one fixed order, for any number of tokens and in every kernel. The number of columns alone determines eight
// parts. Each part is summed from zero by one mma after the other, then 0 + part 0 + ... + part 7.
//
// A token may take two columns: its bf16 values and the error of their rounding. Then products use 16 bits of it. One
// lane holds both sums of a row, and adds them at the end.
//
// There are two kernels here, and matrix_stream.cuh for up to 16 columns. Few tokens: each of a block's eight warps
// takes one part and reads its weights directly into registers. Many tokens: tiles of both operands pass through shared
// memory, and every warp processes all parts of its corner of the block's tile.
#pragma once
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/plan.h"
#include "kernels/cuda/ptx/cp_async.cuh"
#include "kernels/cuda/ptx/memory.cuh"
#include "kernels/cuda/ptx/mma.cuh"
#include "kernels/cuda/ptx/shared.cuh"
#include "kernels/cuda/warp.cuh"

namespace oss::cuda {

constexpr int kMatrixThreads = kParts * kWarp;
constexpr int kTokenTile = 8;                         // columns of the second operand of mma.m16n8k16
constexpr int kTileLoads = 2 * kWarp;                 // loads of 16 bytes: a packed tile has one per k-step and lane
constexpr int kTokenLoads = kMatrixColTile * 2 / 16;  // loads of 16 bytes: one token's part of a column tile

// The second operand: columns of tokens.
template <bool kPaired>
struct Columns {
  const bf16* x;      // [tokens, cols]
  const bf16* x_low;  // the same, when paired
  __device__ __forceinline__ const uint4* loads_of(int column, int col_tiles) const {
    const bf16* from = kPaired && column % 2 != 0 ? x_low : x;
    return reinterpret_cast<const uint4*>(from) + size_t(kPaired ? column / 2 : column) * col_tiles * kTokenLoads;
  }
  static __host__ __device__ constexpr int count(int tokens) { return kPaired ? 2 * tokens : tokens; }
};

struct PackedMatrix {
  const uint4* tiles;  // [row_tiles, col_tiles, k-step, lane]
  int row_tiles, col_tiles;
};

// One tile of weights times one tile of tokens. Lane (g, t) holds columns 8t .. 8t + 7 of the tokens' row g; the first
// four belong to k-step 0.
__device__ __forceinline__ void multiply_tile(float (&sums)[4], const uint4 (&w)[2], const uint4& x) {
  mma_m16n8k16(sums, {w[0].x, w[0].y, w[0].z, w[0].w}, {x.x, x.y});
  mma_m16n8k16(sums, {w[1].x, w[1].y, w[1].z, w[1].w}, {x.z, x.w});
}

// Passes a lane's sums to the epilogue: rows g and g + 8 of a row tile, for columns 2t and 2t + 1 of a token tile.
template <bool kPaired, typename Epilogue>
__device__ __forceinline__ void finish_tile(const Epilogue& epilogue, int row_tile, int first_column, int columns,
                                            const float (&sums)[4]) {
  const int lane = threadIdx.x % kWarp, row = lane / 4, column = first_column + lane % 4 * 2;
  if constexpr (kPaired) {
    if (column < columns) epilogue(row_tile, row, column / 2, sums[0] + sums[1], sums[2] + sums[3]);
  } else {
    if (column < columns) epilogue(row_tile, row, column, sums[0], sums[2]);
    if (column + 1 < columns) epilogue(row_tile, row, column + 1, sums[1], sums[3]);
  }
}

// One block per kRowTiles row tiles, for up to kTokenTiles * 8 columns; one warp per part. A warp has kUnroll *
// kRowTiles KB of weights in flight. The first loads start before the number of tokens is known.
template <int kRowTiles, int kTokenTiles, int kUnroll, bool kPaired, typename Epilogue>
__global__ void __launch_bounds__(kMatrixThreads, 2)
    few_tokens_kernel(PackedMatrix w, const int32_t* num_tokens, Columns<kPaired> x, Epilogue epilogue) {
  const int part = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const int first_row_tile = blockIdx.x * kRowTiles;
  const int begin = first_tile_of_part(part, w.col_tiles), end = first_tile_of_part(part + 1, w.col_tiles);
  const int columns = x.count(*num_tokens);

  uint4 weights[kUnroll][kRowTiles][2];
  const auto load_weights = [&](int u, int col_tile) {
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r) {
      const int row_tile = min(first_row_tile + r, w.row_tiles - 1);  // past the last: read again, and dropped below
      const uint4* tile = w.tiles + (size_t(row_tile) * w.col_tiles + col_tile) * kTileLoads + lane;
      weights[u][r][0] = load_streaming(tile);
      weights[u][r][1] = load_streaming(tile + kWarp);
    }
  };
#pragma unroll
  for (int u = 0; u < kUnroll; ++u) {
    if (begin + u < end) load_weights(u, begin + u);
  }
  if (columns == 0) return;

  float sums[kRowTiles][kTokenTiles][4] = {};
  for (int at = begin; at < end; at += kUnroll) {
    uint4 values[kUnroll][kTokenTiles];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      if (at + u >= end) break;
#pragma unroll
      for (int n = 0; n < kTokenTiles; ++n) {
        const int column = n * kTokenTile + lane / 4;
        values[u][n] = uint4{};
        if (column < columns) values[u][n] = x.loads_of(column, w.col_tiles)[(at + u) * kTokenLoads + lane % 4];
      }
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      if (at + u >= end) break;
#pragma unroll
      for (int r = 0; r < kRowTiles; ++r) {
#pragma unroll
        for (int n = 0; n < kTokenTiles; ++n) multiply_tile(sums[r][n], weights[u][r], values[u][n]);
      }
      if (at + u + kUnroll < end) load_weights(u, at + u + kUnroll);
    }
  }

  // The parts meet in shared memory, 16 bytes per lane; then each warp adds up at most one tile.
  constexpr int kTiles = kRowTiles * kTokenTiles;
  static_assert(kTiles <= kParts);
  float4* parts = dynamic_shared<float4>();  // [part, tile, lane]
#pragma unroll
  for (int r = 0; r < kRowTiles; ++r) {
#pragma unroll
    for (int n = 0; n < kTokenTiles; ++n) {
      const float (&s)[4] = sums[r][n];
      parts[(part * kTiles + r * kTokenTiles + n) * kWarp + lane] = {s[0], s[1], s[2], s[3]};
    }
  }
  __syncthreads();
  const int tile = part, row_tile = first_row_tile + tile / kTokenTiles;
  if (tile >= kTiles || row_tile >= w.row_tiles) return;
  float totals[4] = {};
#pragma unroll
  for (int p = 0; p < kParts; ++p) {
    const float4 s = parts[(p * kTiles + tile) * kWarp + lane];
    totals[0] += s.x, totals[1] += s.y, totals[2] += s.z, totals[3] += s.w;
  }
  finish_tile<kPaired>(epilogue, row_tile, tile % kTokenTiles * kTokenTile, columns, totals);
}

// One block per 4 * kRowTiles row tiles and 2 * kTokenTiles token tiles. Its warps form a 4 x 2 grid, each with
// kRowTiles x kTokenTiles tiles. In shared memory, a stage is one column tile: packed weights unchanged, then 64 bytes
// of each token. Both are read in lane order, 512 bytes at a time, which needs no padding to avoid bank conflicts.
template <int kRowTiles, int kTokenTiles>
struct ManyTokens {
  static constexpr int kBlockRowTiles = 4 * kRowTiles, kBlockTokens = 2 * kTokenTiles * kTokenTile;
  // Loads of one stage.
  static constexpr int kWeightLoads = kBlockRowTiles * kTileLoads, kInputLoads = kBlockTokens * kTokenLoads;
  static constexpr int kStageLoads = kWeightLoads + kInputLoads;
  // 48 KB, so that three blocks share a multiprocessor, or 64 KB for one block.
  static constexpr int kStages = kRowTiles == 1 ? 6 : 4;
  static constexpr size_t kShared = size_t(kStages) * kStageLoads * sizeof(uint4);
  static_assert(kWeightLoads % kMatrixThreads == 0 && kInputLoads % kMatrixThreads == 0);
};

template <int kRowTiles, int kTokenTiles, bool kPaired, typename Epilogue>
__global__ void __launch_bounds__(kMatrixThreads, kRowTiles == 1 ? 3 : 1)
    many_tokens_kernel(PackedMatrix w, const int32_t* num_tokens, Columns<kPaired> x, Epilogue epilogue) {
  using Shape = ManyTokens<kRowTiles, kTokenTiles>;
  const int columns = x.count(*num_tokens), first_column = blockIdx.x * Shape::kBlockTokens;
  if (first_column >= columns) return;
  const int first_row_tile = blockIdx.y * Shape::kBlockRowTiles;
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  uint4* stages = dynamic_shared<uint4>();  // [stage, [row tile, k-step, lane], [token, 4]]

  // Data past the last row tile or token becomes zero.
  const auto load = [&](int col_tile) {
    if (col_tile < w.col_tiles) {
      uint4* stage = stages + col_tile % Shape::kStages * Shape::kStageLoads;
#pragma unroll
      for (int i = 0; i < Shape::kWeightLoads / kMatrixThreads; ++i) {
        const int to = i * kMatrixThreads + threadIdx.x, row_tile = first_row_tile + to / kTileLoads;
        const bool valid = row_tile < w.row_tiles;
        const size_t tile = size_t(valid ? row_tile : 0) * w.col_tiles + col_tile;
        cp_async_16(stage + to, w.tiles + tile * kTileLoads + to % kTileLoads, valid);
      }
#pragma unroll
      for (int i = 0; i < Shape::kInputLoads / kMatrixThreads; ++i) {
        const int to = i * kMatrixThreads + threadIdx.x, column = first_column + to / kTokenLoads;
        const bool valid = column < columns;
        const uint4* from = x.loads_of(valid ? column : 0, w.col_tiles) + col_tile * kTokenLoads + to % kTokenLoads;
        cp_async_16(stage + Shape::kWeightLoads + to, from, valid);
      }
    }
    cp_async_commit();  // one group per stage, empty after the last one, so that waits can count groups
  };
#pragma unroll
  for (int s = 0; s < Shape::kStages - 1; ++s) load(s);

  const int my_row_tile = warp % 4 * kRowTiles, my_token_tile = warp / 4 * kTokenTiles;
  float totals[kRowTiles][kTokenTiles][4] = {};
  for (int part = 0; part < kParts; ++part) {
    const int begin = first_tile_of_part(part, w.col_tiles), end = first_tile_of_part(part + 1, w.col_tiles);
    float sums[kRowTiles][kTokenTiles][4] = {};
    for (int col_tile = begin; col_tile < end; ++col_tile) {
      cp_async_wait<Shape::kStages - 2>();
      __syncthreads();  // this stage is complete, and all threads have left the previous one, which is filled next
      load(col_tile + Shape::kStages - 1);
      const uint4* weights = stages + col_tile % Shape::kStages * Shape::kStageLoads + my_row_tile * kTileLoads + lane;
      const uint4* inputs =
          stages + col_tile % Shape::kStages * Shape::kStageLoads + Shape::kWeightLoads + my_token_tile * kWarp + lane;
      uint4 tile[kRowTiles][2];
#pragma unroll
      for (int r = 0; r < kRowTiles; ++r) {
        tile[r][0] = weights[r * kTileLoads];
        tile[r][1] = weights[r * kTileLoads + kWarp];
      }
#pragma unroll
      for (int n = 0; n < kTokenTiles; ++n) {
        const uint4 values = inputs[n * kWarp];
#pragma unroll
        for (int r = 0; r < kRowTiles; ++r) multiply_tile(sums[r][n], tile[r], values);
      }
    }
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r) {
#pragma unroll
      for (int n = 0; n < kTokenTiles; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) totals[r][n][i] += sums[r][n][i];
      }
    }
  }

#pragma unroll
  for (int n = 0; n < kTokenTiles; ++n) {
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r) {
      const int row_tile = first_row_tile + my_row_tile + r;
      if (row_tile < w.row_tiles)
        finish_tile<kPaired>(epilogue, row_tile, first_column + (my_token_tile + n) * kTokenTile, columns,
                             totals[r][n]);
    }
  }
}

template <int kRowTiles, int kTokenTiles, int kUnroll, bool kPaired, typename Epilogue>
Status multiply_few(const PackedMatrix& w, const int32_t* num_tokens, const Columns<kPaired>& x,
                    const Epilogue& epilogue, Stream stream) {
  return launch(few_tokens_kernel<kRowTiles, kTokenTiles, kUnroll, kPaired, Epilogue>,
                {.grid = dim3(divide_up(w.row_tiles, kRowTiles)),
                 .block = dim3(kMatrixThreads),
                 .shared = size_t(kRowTiles) * kTokenTiles * kMatrixThreads * sizeof(float4),
                 .stream = stream},
                w, num_tokens, x, epilogue);
}

template <int kRowTiles, int kTokenTiles, bool kPaired, typename Epilogue>
Status multiply_many(const PackedMatrix& w, int columns, const int32_t* num_tokens, const Columns<kPaired>& x,
                     const Epilogue& epilogue, Stream stream) {
  using Shape = ManyTokens<kRowTiles, kTokenTiles>;
  // Blocks of the same rows start one after another, so they find their weights in L2.
  return launch(many_tokens_kernel<kRowTiles, kTokenTiles, kPaired, Epilogue>,
                {.grid = dim3(divide_up(columns, Shape::kBlockTokens), divide_up(w.row_tiles, Shape::kBlockRowTiles)),
                 .block = dim3(kMatrixThreads),
                 .shared = Shape::kShared,
                 .stream = stream},
                w, num_tokens, x, epilogue);
}

// Calls epilogue(row_tile, row, token, low, high) once for each row < 8 of every row tile, padding rows of the last
// tile included, and each token < *num_tokens. low and high are the sums of rows `row` and `row + 8`.
template <bool kPaired, typename Epilogue>
Status multiply(const PackedMatrix& w, int capacity, const int32_t* num_tokens, const Columns<kPaired>& x,
                const Epilogue& epilogue, Stream stream) {
  if (capacity == 0) return cudaSuccess;
  const int columns = x.count(capacity);
  // Reads of tokens would outweigh the weights here if two row tiles did not share them; two blocks of 32 KB.
  if (columns <= 32) return multiply_few<2, 4, 2>(w, num_tokens, x, epilogue, stream);
  // 64 rows x 64 tokens while there are few blocks, 128 x 128 when L2 is the limit.
  if (columns <= 256) return multiply_many<1, 4>(w, columns, num_tokens, x, epilogue, stream);
  return multiply_many<2, 8>(w, columns, num_tokens, x, epilogue, stream);
}

}  // namespace oss::cuda
