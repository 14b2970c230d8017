// Packing:  blocks [experts, rows, cols / 32, 16] and scales [experts, rows, cols / 32] of a checkpoint
//   -> codes   [expert][row tile of 16][column tile of 64][lane] 16 bytes
//   -> scales  [expert][row tile of 16][column tile of 64][g] 4 bytes: blocks 0 and 1 of row g, then of row g + 8, each
//      as packed_scale() of mxfp4.cuh
// Word 2h + s of lane 4g + t is the first operand of mma.m16n8k16, a[0..3] of ptx/mma.cuh, for k-step s of the columns
// 32h .. 32h + 31, which are one MXFP4 block. Rows g and g + 8 of the tile are rows of the matrix by RowOrder; the
// k-step's columns 2t, 2t + 1, 2t + 8, 2t + 9 are columns 8t + 4s .. 8t + 4s + 3 of the block, so that a lane meets
// eight neighbouring columns of a token in both k-steps: one 16-byte load of it. mxfp4.cuh orders a word's bits.
//
// Traffic: each byte is read and written once, at load. A warp reads 16 bytes of each row and stores 512 together.
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/mxfp4.cuh"
#include "kernels/cuda/warp.cuh"

namespace oss::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kBlocksPerTile = kExpertColTile / kMxBlock;
constexpr int kTileRows = 8;  // a tile's rows come in pairs, g and g + 8

// The tile that a thread works on, and which rows of the matrix [experts · rows, cols] its rows g and g + 8 are.
struct Tile {
  int64_t low, high;
  int first_block;

  __device__ Tile(const PackExpertsArgs& args, int col_tiles, int64_t tile, int g) {
    const int64_t row_tile = tile / col_tiles;  // counts the row tiles of all experts: rows is a multiple of 16
    const bool paired = args.order == kRowsGateUp;
    low = row_tile * kRowTile + (paired ? 2 * g : g);
    high = low + (paired ? 1 : 8);
    first_block = int(tile % col_tiles) * kBlocksPerTile;
  }
};

// One warp per tile.
__global__ void pack_codes_kernel(PackExpertsArgs args, int64_t tiles, int col_tiles, const uint8_t* raw,
                                  uint4* packed) {
  const int64_t at = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (at / kWarp >= tiles) return;
  const int lane = int(at % kWarp), g = lane / 4, t = lane % 4, blocks = args.cols / kMxBlock;
  const Tile tile(args, col_tiles, at / kWarp, g);
  CodeWords words[kBlocksPerTile] = {};  // code 0 is the value 0
  for (int h = 0; h < kBlocksPerTile; ++h) {
    if (tile.first_block + h >= blocks) break;
    // Columns 8t .. 8t + 7 of a row, the first in the lowest four bits.
    const auto eight_of_row = [&](int64_t row) {
      const uint8_t* from = raw + (row * blocks + tile.first_block + h) * kMxBlockBytes + 4 * t;
      return *reinterpret_cast<const uint32_t*>(from);
    };
    const uint32_t low = eight_of_row(tile.low), high = eight_of_row(tile.high);
    const auto pair = [](uint32_t eight, int column) {
      return pair_of_codes(eight >> 4 * column, eight >> 4 * (column + 1));
    };
    words[h] = pack_codes({{pair(low, 0), pair(high, 0), pair(low, 2), pair(high, 2)},
                           {pair(low, 4), pair(high, 4), pair(low, 6), pair(high, 6)}});
  }
  packed[at] = {words[0].first, words[0].second, words[1].first, words[1].second};
}

// One thread per tile and g.
__global__ void pack_scales_kernel(PackExpertsArgs args, int64_t tiles, int col_tiles, const uint8_t* raw,
                                   uint32_t* packed) {
  const int64_t at = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (at / kTileRows >= tiles) return;
  const int blocks = args.cols / kMxBlock;
  const Tile tile(args, col_tiles, at / kTileRows, int(at % kTileRows));
  uint32_t word = 0;
  for (int h = 0; h < kBlocksPerTile; ++h) {
    const int block = tile.first_block + h;
    const bool there = block < blocks;  // the scale of zeros is any number
    const uint32_t low = there ? raw[tile.low * blocks + block] : 127u;
    const uint32_t high = there ? raw[tile.high * blocks + block] : 127u;
    word |= packed_scale(low) << 8 * h | packed_scale(high) << 8 * (h + kBlocksPerTile);
  }
  packed[at] = word;
}

bool packable(const PackExpertsArgs& args) {
  return args.rows % kRowTile == 0 && args.cols % kMxBlock == 0 && args.order != kRowsRope;
}

template <typename Packed>
Status pack(void (*kernel)(PackExpertsArgs, int64_t, int, const uint8_t*, Packed*), const PackExpertsArgs& args,
            int threads_per_tile, const uint8_t* raw, void* packed, Stream stream) {
  if (!packable(args)) return cudaErrorInvalidValue;
  const int col_tiles = int(tiles_of(args.cols, kExpertColTile));
  const int64_t tiles = int64_t(args.experts) * (args.rows / kRowTile) * col_tiles;
  return launch(
      kernel,
      {.grid = dim3(unsigned(tiles_of(tiles * threads_per_tile, kThreads))), .block = dim3(kThreads), .stream = stream},
      args, tiles, col_tiles, raw, static_cast<Packed*>(packed));
}

}  // namespace

Status pack_expert_codes(const PackExpertsArgs& args, const uint8_t* raw_blocks, void* codes, Stream stream) {
  return pack(pack_codes_kernel, args, kWarp, raw_blocks, codes, stream);
}

Status pack_expert_scales(const PackExpertsArgs& args, const uint8_t* raw_scales, void* scales, Stream stream) {
  return pack(pack_scales_kernel, args, kTileRows, raw_scales, scales, stream);
}

}  // namespace oss::cuda
