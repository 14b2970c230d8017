// The product of rows x [rows, in] and a matrix w [outputs, in], as tiles of kRows x 64 results: each weight is read
// once for kRows rows. in % 32 == 0.
//
// A step of 32 columns: threads copy both operands to threadgroup memory, then simdgroups multiply 8x8 matrices from
// there. While they do, the next step's operands are on their way to registers. A result's sum has one order, whatever
// the number of rows and the place in the tile: bias, then the columns as eights.
#pragma once
#include "kernels/metal/dense.h"
#include "kernels/metal/lang.h"

namespace oss {

OSS_CONSTANT int kTileDepth = 32;  // columns of a step
// Elements from row to row in threadgroup memory. A row of bf16 takes 20 words, so that eight rows of 4 words lie in
// different banks. As uint2 (of four bf16): 10.
OSS_CONSTANT int kTileStride = 40;
OSS_CONSTANT int kSumStride = 72;

// The uint2 of threadgroup memory that a tile needs. First it holds w, x and x_low, at last the results.
#define OSS_TILE_MEMORY(rows) ((kTileOutputs + 2 * (rows)) * kTileStride / 4)
static_assert(kSmallTileRows * kSumStride / 2 <= OSS_TILE_MEMORY(kSmallTileRows), "the results fit");
static_assert(kTileRows * kSumStride / 2 <= OSS_TILE_MEMORY(kTileRows), "the results fit");

// What one thread copies in a step: four columns of every 16th row.
template <int kRows>
struct TileCopy {
  uint2 w[kTileOutputs / 16], x[kRows / 16], x_low[kRows / 16];
};

struct TileSource {
  DevicePtr<const ushort> x, x_low, w;
  int first_row, last_row, first_output, last_output;  // those past the last: any values, as nobody reads their results
  int in;
};

template <int kRows, bool kLow>
static inline TileCopy<kRows> load_tile(TileSource from, int column, uint index) {
  TileCopy<kRows> copy;
  const int row = int(index) / 8, at = column + int(index) % 8 * 4;
#pragma clang loop unroll(full)
  for (int i = 0; i < kTileOutputs / 16; ++i) {
    const int output = min(from.first_output + row + i * 16, from.last_output);
    copy.w[i] = *as_const<uint2>(from.w + (ulong(output) * ulong(from.in) + ulong(at)));
  }
#pragma clang loop unroll(full)
  for (int i = 0; i < kRows / 16; ++i) {
    const ulong place = ulong(min(from.first_row + row + i * 16, from.last_row)) * ulong(from.in) + ulong(at);
    copy.x[i] = *as_const<uint2>(from.x + place);
    if (kLow) copy.x_low[i] = *as_const<uint2>(from.x_low + place);
  }
  return copy;
}

// Afterwards result (r, o) is as<float>(memory)[r * kSumStride + o].
template <int kRows, bool kLow>
static inline void multiply_tile(TileSource from, DevicePtr<const float> bias, bool biased,
                                 ThreadgroupPtr<uint2> memory, uint index, uint simdgroup) {
  const ThreadgroupPtr<float> results = as<float>(memory);
  // Eight equal rows, from which every accumulator begins.
  for (int i = int(index); i < 8 * kTileOutputs; i += kTileThreads) {
    const int o = i % kTileOutputs;
    results[i / kTileOutputs * kSumStride + o] = biased ? bias[min(from.first_output + o, from.last_output)] : 0.0f;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  simdgroup_float8x8 sums[kRows / 8][2];
#pragma clang loop unroll(full)
  for (int m = 0; m < kRows / 8; ++m) {
#pragma clang loop unroll(full)
    for (int n = 0; n < 2; ++n) simdgroup_load(sums[m][n], results + (int(simdgroup) * 16 + n * 8), kSumStride);
  }

  const ThreadgroupPtr<uint2> x_memory = memory + kTileOutputs * kTileStride / 4;
  const ThreadgroupPtr<uint2> low_memory = x_memory + kRows * kTileStride / 4;
  const ThreadgroupPtr<bfloat> w_tile = as<bfloat>(memory) + int(simdgroup) * 16 * kTileStride;
  const ThreadgroupPtr<bfloat> x_tile = as<bfloat>(x_memory), low_tile = as<bfloat>(low_memory);
  const int place = int(index) / 8 * (kTileStride / 4) + int(index) % 8;
  TileCopy<kRows> copy = load_tile<kRows, kLow>(from, 0, index);
  for (int column = 0; column < from.in; column += kTileDepth) {
    threadgroup_barrier(mem_flags::mem_threadgroup);  // all simdgroups have read what is overwritten now
#pragma clang loop unroll(full)
    for (int i = 0; i < kTileOutputs / 16; ++i) memory[place + i * 16 * (kTileStride / 4)] = copy.w[i];
#pragma clang loop unroll(full)
    for (int i = 0; i < kRows / 16; ++i) {
      x_memory[place + i * 16 * (kTileStride / 4)] = copy.x[i];
      if (kLow) low_memory[place + i * 16 * (kTileStride / 4)] = copy.x_low[i];
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (column + kTileDepth < from.in) copy = load_tile<kRows, kLow>(from, column + kTileDepth, index);
#pragma clang loop unroll(full)
    for (int d = 0; d < kTileDepth; d += 8) {
      simdgroup_bfloat8x8 w0, w1, values;
      simdgroup_load(w0, w_tile + d, kTileStride, ulong2(0), true);
      simdgroup_load(w1, w_tile + (8 * kTileStride + d), kTileStride, ulong2(0), true);
#pragma clang loop unroll(full)
      for (int m = 0; m < kRows / 8; ++m) {
        simdgroup_load(values, x_tile + (m * 8 * kTileStride + d), kTileStride);
        simdgroup_multiply_accumulate(sums[m][0], values, w0, sums[m][0]);
        simdgroup_multiply_accumulate(sums[m][1], values, w1, sums[m][1]);
        if (kLow) {
          simdgroup_load(values, low_tile + (m * 8 * kTileStride + d), kTileStride);
          simdgroup_multiply_accumulate(sums[m][0], values, w0, sums[m][0]);
          simdgroup_multiply_accumulate(sums[m][1], values, w1, sums[m][1]);
        }
      }
    }
  }

  threadgroup_barrier(mem_flags::mem_threadgroup);
#pragma clang loop unroll(full)
  for (int m = 0; m < kRows / 8; ++m) {
#pragma clang loop unroll(full)
    for (int n = 0; n < 2; ++n) {
      simdgroup_store(sums[m][n], results + (m * 8 * kSumStride + int(simdgroup) * 16 + n * 8), kSumStride);
    }
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
}

}  // namespace oss
