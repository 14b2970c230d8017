// Divides the work of steps with few tokens: pure functions of shapes and of the GPU's resources. No CUDA headers.
//
// Such a step is a chain of launches that begin early (dependent.cuh). Where possible, each launch leaves shared memory
// of a multiprocessor free for blocks of its neighbours, so that these can start beside it and have their weights in
// flight.
#pragma once
#include <algorithm>

#include "kernels/cuda/layout.h"

namespace oss::cuda {

// The resources among which a launch divides its work.
struct Resources {
  int multiprocessors;
  size_t shared_bytes;  // the most that a block may have
};

// The GPU reserves 1 KB for each block; blocks may use all the rest.
constexpr size_t kBlockReserve = 1 << 10;

// The first item of `block`: the runs are in order and differ by at most one item.
OSS_FN constexpr int first_of_block(int64_t items, int block, int blocks) { return int(items * block / blocks); }

// A sum has this many parts of the columns, one for each warp of a block, by the number of column tiles alone.
constexpr int kParts = 8;
OSS_FN constexpr int first_tile_of_part(int part, int col_tiles) { return int(int64_t(part) * col_tiles / kParts); }

// --- streams of experts (few_experts.cu) -----------------------------------------------------------------------------

constexpr int kFewPairs = 64;     // pairs of a token and an expert
constexpr int kPartTiles = 6;     // the most column tiles of a part: up to 3072 columns; gpt-oss has 2880
constexpr int kExpertBlocks = 2;  // per multiprocessor: dequantising needs 16 warps
constexpr int kExpertStages = 2;  // parts of row tiles that a warp has in flight: 104 KB per multiprocessor

constexpr int expert_stage_bytes(int most_tiles) {
  return most_tiles * (kRowTile * kExpertColTile / 2 + kRowTile * kExpertColTile / kMxBlock);
}
constexpr size_t expert_ring_bytes() {
  return size_t(kParts) * kExpertStages * (expert_stage_bytes(kPartTiles) + sizeof(uint64_t));
}
// Rings, their barriers, and two buffers in which the parts of a row tile meet.
constexpr size_t expert_shared_bytes() { return expert_ring_bytes() + size_t(2) * kParts * 32 * 16; }
constexpr size_t kExpertStaticBytes = 2 << 10;  // at most: struct Routing
// The shared memory of a multiprocessor that remains for one block of another launch.
constexpr size_t shared_beside_experts(const Resources& of) {
  const size_t taken = kExpertBlocks * (expert_shared_bytes() + kExpertStaticBytes + kBlockReserve);
  return of.shared_bytes > taken ? of.shared_bytes - taken : 0;
}
constexpr int plan_expert_stream(int most_items, const Resources& gpu) {  // blocks
  return std::min(most_items, kExpertBlocks * gpu.multiprocessors);
}

// --- streams of bf16 matrices (matrix_stream.cuh) --------------------------------------------------------------------

constexpr int kStreamColumns = 16;  // columns of tokens: two tiles of 8
constexpr int kStageTiles = 2;      // column tiles that a warp requests at a time: copies of 2 KB
constexpr size_t kStageBytes = kStageTiles * kRowTile * kMatrixColTile * 2;
constexpr int kLeastStages = 2,
              kMostStages = 6;     // 6: 96 KB in flight per multiprocessor, three times the need to hide latency
constexpr size_t kColumnPad = 64;  // bytes after a token's row, so that adjacent rows are in different banks

constexpr size_t stream_column_bytes(int cols) { return size_t(cols) * 2 + kColumnPad; }

struct MatrixStream {
  int blocks = 0;  // 0: the columns leave no room for weights
  int stages = 0;  // stages of each warp's ring
  size_t shared_bytes = 0;
};
// Shared memory: rings, their barriers, the columns, and two buffers in which the parts of a row tile meet.
constexpr MatrixStream plan_matrix_stream(int row_tiles, int cols, int columns, const Resources& gpu) {
  const int tiles = columns <= 8 ? 1 : 2;
  const size_t stage = kParts * (kStageBytes + sizeof(uint64_t));
  const size_t rest = size_t(columns) * stream_column_bytes(cols) + size_t(2) * kParts * tiles * 32 * 16;
  const auto stages_in = [&](size_t bytes) { return bytes < rest ? 0 : int((bytes - rest) / stage); };
  int stages = stages_in(shared_beside_experts(gpu));
  if (stages < kMostStages / 2) stages = stages_in(gpu.shared_bytes);  // better alone than with a shallow ring
  if (columns > kStreamColumns || stages < kLeastStages) return {};
  stages = std::min(stages, kMostStages);
  return {std::min(row_tiles, gpu.multiprocessors), stages, rest + size_t(stages) * stage};
}

// Bytes that a launch loads into L2 for a later one after its own weights. Until the router has chosen, memory is idle
// for about 5 us at 4.3 TB/s; these bytes take less than a third of L2. 0: none.
constexpr size_t kPrefetchBytes = 14 << 20;

// A block's share of `bytes`, in multiples of 16.
struct Share {
  size_t first, bytes;
};
OSS_FN constexpr Share share_of_block(size_t bytes, int block, int blocks) {
  const size_t units = bytes / 16, first = units * size_t(block) / size_t(blocks);
  return {first * 16, (units * (size_t(block) + 1) / size_t(blocks) - first) * 16};
}

// --- all phases together ---------------------------------------------------------------------------------------------

struct StepShape {
  int hidden, intermediate, experts, top_k;
};
// The most tokens of a step that runs fused: the limit of all its phases. 0: no step.
constexpr int most_fused_tokens(const StepShape& of, const Resources& gpu) {
  constexpr int kMostTiles = kParts * kPartTiles;
  constexpr int kMostHidden = 4096;  // the most columns that a norm sums
  if (of.hidden % kMxBlock != 0 || of.intermediate % kMxBlock != 0 || of.hidden > kMostHidden || of.top_k > 32 ||
      std::max(tiles_of(of.hidden, kExpertColTile), tiles_of(of.intermediate, kExpertColTile)) > kMostTiles ||
      expert_shared_bytes() + kExpertStaticBytes > gpu.shared_bytes)
    return 0;
  const auto fits = [&](int columns) { return plan_matrix_stream(1, of.hidden, columns, gpu).blocks > 0; };
  int tokens = std::min(kStreamColumns, kFewPairs / of.top_k);
  while (tokens > 0 && !(fits(tokens) && fits(std::min(2 * tokens, kStreamColumns)))) --tokens;
  return tokens;
}

}  // namespace oss::cuda
