// The products of matrix.cuh for up to 16 columns of tokens, with sums in the same order: bit for bit the same.
//
// The time is spent on reading the weights, so the reads must never pause. One block on each multiprocessor takes a run
// of row tiles (plan.h), and each of its warps one part of their columns. Each warp has a ring for its weights in
// shared memory, and waits only for the copies that it started itself. Until its last row tile, stages * 2 KB of each
// warp are in flight, whatever the other warps do. The kernel fills the ring before it waits for the previous launch.
// Only then does it read the columns, which that launch has written, or norm them. Meanwhile norm weights and biases
// are loaded into L2: a few lines that no cache still holds from the last step.
//
// Traffic: the weights once. At 4.3 TB/s, each of 132 multiprocessors gets 1 KB of weights in 55 clocks. For it, the
// block reads 1 KB plus 512 bytes per token tile from shared memory, which gives 128 bytes per clock.
#pragma once
#include "kernels/cuda/matrix.cuh"
#include "kernels/cuda/norm.cuh"
#include "kernels/cuda/plan.h"
#include "kernels/cuda/ptx/bulk_copy.cuh"

namespace oss::cuda {

// --- the source of the columns: fill() writes `columns` of them from `first` on, each `stride` bytes long ----------

// bf16 rows as they are; in a pair, the second column is the rounding error.
template <bool kPaired>
struct GivenRows {
  using Element = bf16;
  Earlier<const bf16> x_low;  // [tokens, cols], when paired

  __device__ __forceinline__ void prefetch(int) const {}
  __device__ __forceinline__ void fill(const Waited& waited, const bf16* x, int cols, int first, int columns,
                                       unsigned char* to, size_t stride, float*) const {
    const int loads = cols / 8;  // loads of 16 bytes in a row
    for (int i = threadIdx.x; i < columns * loads; i += kMatrixThreads) {
      const int column = i / loads, load = i % loads, row = (first + column) / (kPaired ? 2 : 1);
      const bf16* from = kPaired && column % 2 != 0 ? x_low(waited) : x;
      reinterpret_cast<uint4*>(to + column * stride)[load] =
          *reinterpret_cast<const uint4*>(from + size_t(row) * cols + load * 8);
    }
  }
};

// rms_norm of float32 rows. The first block also writes the rows in bf16, if `out` is set.
template <bool kPaired>
struct NormedRows {
  using Element = float;
  const float* w;  // [cols]
  float eps;
  bf16* out;  // [tokens, cols] or null

  __device__ __forceinline__ void prefetch(int cols) const { prefetch_lines(w, size_t(cols) * sizeof(float)); }
  __device__ __forceinline__ void fill(const Waited&, const float* x, int cols, int first, int columns,
                                       unsigned char* to, size_t stride, float* scratch) const {
    constexpr int kColumns = kPaired ? 2 : 1;  // columns of a row
    constexpr int kWarps = kMatrixThreads / kWarp;
    const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
    const int groups = divide_up(cols, kNormGroup), rows = columns / kColumns;
    const float* x_first = x + size_t(first / kColumns) * cols;
    float* sums = scratch;                                        // [rows, kMostNormGroups]
    float* factors = scratch + kStreamColumns * kMostNormGroups;  // [rows]
    for (int i = warp; i < rows * groups; i += kWarps) {
      const int row = i / groups, column = i % groups * kNormGroup + lane * kNormVector;
      float4 values{};
      if (column < cols) values = *reinterpret_cast<const float4*>(x_first + size_t(row) * cols + column);
      const float sum = group_sum_of_squares(values);
      if (lane == 0) sums[row * kMostNormGroups + i % groups] = sum;
    }
    __syncthreads();
    for (int row = warp; row < rows; row += kWarps) {
      const float factor = norm_factor(sums + row * kMostNormGroups, groups, cols, eps);
      if (lane == 0) factors[row] = factor;
    }
    __syncthreads();
    for (int i = warp; i < rows * groups; i += kWarps) {
      const int row = i / groups, column = i % groups * kNormGroup + lane * kNormVector;
      if (column >= cols) continue;
      const float4 values = *reinterpret_cast<const float4*>(x_first + size_t(row) * cols + column);
      const NormedVector y = normed(values, factors[row], *reinterpret_cast<const float4*>(w + column));
      unsigned char* at = to + size_t(row) * kColumns * stride + size_t(column) * sizeof(bf16);
      *reinterpret_cast<uint2*>(at) = y.high;
      if constexpr (kPaired) *reinterpret_cast<uint2*>(at + stride) = y.low;
      if (out != nullptr && blockIdx.x == 0)
        *reinterpret_cast<uint2*>(out + size_t(first / kColumns + row) * cols + column) = y.high;
    }
  }
};

// --- the kernel ------------------------------------------------------------------------------------------------------

constexpr int kStageLoads = int(kStageBytes / sizeof(uint4));

// Grid: the blocks of the plan x groups of kStreamColumns columns.
template <int kTokenTiles, bool kPaired, typename Rows, typename Epilogue>
__global__ void __launch_bounds__(kMatrixThreads, 2)
    matrix_stream_kernel(PackedMatrix w, int stages, const int32_t* num_tokens, Earlier<const typename Rows::Element> x,
                         Rows rows, Epilogue epilogue, Prefetch next) {
  const int part = threadIdx.x / kWarp, lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
  const int first_row_tile = first_of_block(w.row_tiles, blockIdx.x, gridDim.x);
  const int end_row_tile = first_of_block(w.row_tiles, blockIdx.x + 1, gridDim.x);
  const int begin = first_tile_of_part(part, w.col_tiles), end = first_tile_of_part(part + 1, w.col_tiles);

  uint4* rings = dynamic_shared<uint4>();  // [part, stage, column tile, k-step, lane]
  float4* meetings = reinterpret_cast<float4*>(rings + kParts * stages * kStageLoads);  // [2, part, token tile, lane]
  auto* barriers = reinterpret_cast<CopyBarrier*>(meetings + 2 * kParts * kTokenTiles * kWarp);  // [part, stage]
  auto* columns_at = reinterpret_cast<unsigned char*>(barriers + kParts * stages);
  const size_t stride = stream_column_bytes(w.col_tiles * kMatrixColTile);
  uint4* ring = rings + part * stages * kStageLoads;
  CopyBarrier* barrier = barriers + part * stages;

  if (lane < stages) init_copies(barrier + lane);
  __syncwarp();
  int asked_row_tile = begin < end ? first_row_tile : end_row_tile, asked_tile = begin;
  const auto ask = [&](int stage) {
    if (asked_row_tile == end_row_tile) return;
    const int tiles = min(kStageTiles, end - asked_tile);
    const uint32_t bytes = uint32_t(tiles) * kTileLoads * sizeof(uint4);
    copy_runs(barrier + stage, Run{ring + stage * kStageLoads,
                                   w.tiles + (size_t(asked_row_tile) * w.col_tiles + asked_tile) * kTileLoads, bytes});
    asked_tile += tiles;
    if (asked_tile == end) {
      asked_tile = begin;
      ++asked_row_tile;
    }
  };
  for (int stage = 0; stage < stages; ++stage) ask(stage);
  rows.prefetch(w.col_tiles * kMatrixColTile);
  epilogue.prefetch(first_row_tile, end_row_tile);

  const Waited waited = wait_for_earlier();
  const int first_column = int(blockIdx.y) * kStreamColumns, all_columns = Columns<kPaired>::count(*num_tokens);
  const int columns = max(0, min(all_columns - first_column, kStreamColumns));
  rows.fill(waited, x(waited), w.col_tiles * kMatrixColTile, first_column, columns, columns_at, stride,
            reinterpret_cast<float*>(meetings));
  __syncthreads();

  int stage = 0;
  uint32_t odd = 0;  // the parity of completed rounds of this stage's barrier
  for (int row_tile = first_row_tile; row_tile < end_row_tile; ++row_tile) {
    float sums[kTokenTiles][4] = {};
    for (int first = begin; first < end; first += kStageTiles) {
      wait_copies(barrier + stage, odd);
#pragma unroll
      for (int i = 0; i < kStageTiles; ++i) {
        if (first + i >= end) break;
        const uint4* tile = ring + stage * kStageLoads + i * kTileLoads + lane;
        const uint4 weights[2] = {tile[0], tile[kWarp]};
#pragma unroll
        for (int n = 0; n < kTokenTiles; ++n) {
          const int column = n * kTokenTile + g;
          uint4 values{};
          if (column < columns)
            values = reinterpret_cast<const uint4*>(columns_at + column * stride)[(first + i) * kTokenLoads + t];
          multiply_tile(sums[n], weights, values);
        }
      }
      __syncwarp();  // all lanes have read this stage, so it can be filled again
      ask(stage);
      if (++stage == stages) {
        stage = 0;
        odd ^= 1;
      }
    }

    // The parts meet in shared memory. Two buffers alternate, so that the next row tile needs no second wait.
    const int turn = row_tile - first_row_tile;
    float4* meeting = meetings + turn % 2 * kParts * kTokenTiles * kWarp;
#pragma unroll
    for (int n = 0; n < kTokenTiles; ++n)
      meeting[(part * kTokenTiles + n) * kWarp + lane] = {sums[n][0], sums[n][1], sums[n][2], sums[n][3]};
    __syncthreads();
#pragma unroll
    for (int n = 0; n < kTokenTiles; ++n) {
      if (part != (turn * kTokenTiles + n) % kParts) continue;  // each warp sums in turn
      float totals[4] = {};
#pragma unroll
      for (int p = 0; p < kParts; ++p) {
        const float4 s = meeting[(p * kTokenTiles + n) * kWarp + lane];
        totals[0] += s.x, totals[1] += s.y, totals[2] += s.z, totals[3] += s.w;
      }
      finish_tile<kPaired>(epilogue, row_tile, first_column + n * kTokenTile, all_columns, totals);
    }
  }
  const Share share = share_of_block(next.bytes, blockIdx.x, gridDim.x);
  if (threadIdx.x == 0 && share.bytes > 0)
    prefetch_run(static_cast<const unsigned char*>(next.from) + share.first,
                 uint32_t(share.bytes < kMostRunBytes ? share.bytes : kMostRunBytes));
}

// Like multiply() of matrix.cuh; also calls epilogue.prefetch(first, end) for these row tiles. `plan` is not empty.
template <bool kPaired, typename Rows, typename Epilogue>
Status multiply_stream(const PackedMatrix& w, const MatrixStream& plan, int columns, const int32_t* num_tokens,
                       const typename Rows::Element* x, const Rows& rows, const Epilogue& epilogue,
                       const Prefetch& next, Stream stream) {
  const auto kernel = columns <= kTokenTile ? matrix_stream_kernel<1, kPaired, Rows, Epilogue>
                                            : matrix_stream_kernel<2, kPaired, Rows, Epilogue>;
  return launch(kernel,
                {.grid = dim3(plan.blocks, divide_up(columns, kStreamColumns)),
                 .block = dim3(kMatrixThreads),
                 .shared = plan.shared_bytes,
                 .stream = stream},
                w, plan.stages, num_tokens, x, rows, epilogue,
                Prefetch{next.from, next.bytes < kPrefetchBytes ? next.bytes : kPrefetchBytes});
}

}  // namespace oss::cuda
