// Packing:  [rows, cols] as a checkpoint holds it -> [row tile of 16][column tile of 32][k-step 0, 1][lane][8] bf16
//   lane = 4g + t of k-step s holds the first operand of mma.m16n8k16, a[0..3] of ptx/mma.cuh, where
//     rows g and g + 8 of the tile are rows of the matrix by RowOrder
//     the k-step's columns 2t, 2t + 1, 2t + 8, 2t + 9 are columns 8t + 4s .. 8t + 4s + 3 of the column tile
//   so that lane 4g + t meets eight neighbouring columns of a token in both k-steps: one 16-byte load of it.
//
// Traffic 4·rows·cols bytes, once at load. A warp makes a tile: 16-byte loads, four lanes to a row; coalesced stores.
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/warp.cuh"

namespace oss::cuda {
namespace {

constexpr int kTilesPerBlock = 8;

// Returns the row of the matrix for row g or, with `upper`, g + 8 of a tile.
__device__ __forceinline__ int source_row(RowOrder order, int tile, int g, bool upper) {
  if (order == kRowsRope) {
    constexpr int kHeadTiles = kHeadDim / kRowTile;
    return tile / kHeadTiles * kHeadDim + tile % kHeadTiles * 8 + g + (upper ? kHeadDim / 2 : 0);
  }
  if (order == kRowsGateUp) return tile * kRowTile + 2 * g + (upper ? 1 : 0);
  return tile * kRowTile + g + (upper ? 8 : 0);
}

// One warp per tile.
__global__ void pack_matrix_kernel(PackMatrixArgs args, int tiles, const bf16* raw /*[rows, cols]*/, uint4* packed) {
  const int tile = blockIdx.x * kTilesPerBlock + threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  if (tile >= tiles) return;
  const int col_tiles = args.cols / kMatrixColTile, g = lane / 4, t = lane % 4;
  const auto eight_of_row = [&](bool upper) {
    const int row = source_row(args.order, tile / col_tiles, g, upper);
    if (row >= args.rows) return uint4{};
    return *reinterpret_cast<const uint4*>(raw + size_t(row) * args.cols + tile % col_tiles * kMatrixColTile + 8 * t);
  };
  const uint4 low = eight_of_row(false), high = eight_of_row(true);
  uint4* to = packed + size_t(tile) * 2 * kWarp + lane;
  to[0] = {low.x, high.x, low.y, high.y};
  to[kWarp] = {low.z, high.z, low.w, high.w};
}

}  // namespace

Status pack_matrix(const PackMatrixArgs& args, const bf16* raw, void* packed, Stream stream) {
  if (args.cols % kMatrixColTile != 0) return cudaErrorInvalidValue;
  if (args.order == kRowsRope && args.rows % kHeadDim != 0) return cudaErrorInvalidValue;
  const int tiles = divide_up(args.rows, kRowTile) * (args.cols / kMatrixColTile);
  return launch(
      pack_matrix_kernel,
      {.grid = dim3(divide_up(tiles, kTilesPerBlock)), .block = dim3(kTilesPerBlock * kWarp), .stream = stream}, args,
      tiles, raw, static_cast<uint4*>(packed));
}

}  // namespace oss::cuda
