// The product of rows x [rows, in] and a matrix w [outputs, in], as tiles of kRows x 64 results: each weight is read
// once for kRows rows. in % 32 == 0.
//
// A step of 32 columns: threads copy both operands to threadgroup memory, then simdgroups multiply 8x8 matrices from
// there. While they do, the next step's operands are on their way to registers. A result's sum has one order, whatever
// the number of rows and the place in the tile: bias, then the columns as eights.
//
// Q8: a code times its scale has 18 bits, more than bf16. So codes are copied as bf16, which is exact. A step is one
// block of each output. Its sums are multiplied with a diagonal matrix of scales: one more instruction for every four.
// Weights as float would need none, but twice the reads of threadgroup memory, also of x: Metal does not document
// products of float and bf16.
#pragma once
#include "kernels/metal/dense.h"
#include "kernels/metal/dense_rows.h"
#include "kernels/metal/lang.h"

namespace oss {

OSS_CONSTANT int kTileDepth = 32;  // columns of a step
// Elements from row to row in threadgroup memory. A row of bf16 takes 20 words, so that eight rows of 4 words lie in
// different banks. As uint2 (of four bf16): 10.
OSS_CONSTANT int kTileStride = 40;
OSS_CONSTANT int kSumStride = 72;

// The uint2 of threadgroup memory that a tile needs. First it holds w, x and x_low, at last the results.
#define OSS_TILE_MEMORY(rows) ((kTileOutputs + 2 * (rows)) * kTileStride / 4)
// With Q8, the diagonal matrices of eight outputs each come behind that.
#define OSS_Q8_TILE_MEMORY(rows) (OSS_TILE_MEMORY(rows) + kTileOutputs * 8 / 2)
static_assert(kTileDepth == kQ8Block, "a step has one scale for each output");
static_assert(kSmallTileRows * kSumStride / 2 <= OSS_TILE_MEMORY(kSmallTileRows), "the results fit");
static_assert(kTileRows * kSumStride / 2 <= OSS_TILE_MEMORY(kTileRows), "the results fit");

// The weights that one thread copies in a step: four columns of every 16th row.
struct Bf16Copy {
  uint2 of[kTileOutputs / 16];
};
struct Q8Copy {
  uint codes[kTileOutputs / 16];
  half scales[kTileOutputs / 16];
};

template <typename Weights>
struct TileSource {
  DevicePtr<const ushort> x, x_low;
  Weights w;
  int first_row, last_row, first_output, last_output;  // those past the last: any values, as nobody reads their results
  int in;
};

static inline Bf16Copy load_weights(TileSource<Bf16Rows> from, int row, int at) {
  Bf16Copy copy;
#pragma clang loop unroll(full)
  for (int i = 0; i < kTileOutputs / 16; ++i) {
    const int output = min(from.first_output + row + i * 16, from.last_output);
    copy.of[i] = *as_const<uint2>(from.w.values + (ulong(output) * ulong(from.in) + ulong(at)));
  }
  return copy;
}
static inline Q8Copy load_weights(TileSource<Q8Rows> from, int row, int at) {
  Q8Copy copy;
#pragma clang loop unroll(full)
  for (int i = 0; i < kTileOutputs / 16; ++i) {
    const int output = min(from.first_output + row + i * 16, from.last_output);
    const ulong place = ulong(output) * ulong(from.in) + ulong(at);
    copy.codes[i] = *as_const<uint>(from.w.codes + place);
    copy.scales[i] = from.w.scales[place / ulong(kQ8Block)];
  }
  return copy;
}

static inline void store_weights(Bf16Copy copy, ThreadgroupPtr<uint2> memory, ThreadgroupPtr<float>, int place, uint) {
#pragma clang loop unroll(full)
  for (int i = 0; i < kTileOutputs / 16; ++i) memory[place + i * 16 * (kTileStride / 4)] = copy.of[i];
}
static inline void store_weights(Q8Copy copy, ThreadgroupPtr<uint2> memory, ThreadgroupPtr<float> diagonals, int place,
                                 uint index) {
#pragma clang loop unroll(full)
  for (int i = 0; i < kTileOutputs / 16; ++i) {
    memory[place + i * 16 * (kTileStride / 4)] = four_codes_as_bf16(copy.codes[i]);
    const int output = int(index) / 8 + i * 16;
    if (index % 8 == 0) diagonals[output * 8 + output % 8] = float(copy.scales[i]);
  }
}

static inline void clear_diagonals(Bf16Rows, ThreadgroupPtr<float>, uint) {}
static inline void clear_diagonals(Q8Rows, ThreadgroupPtr<float> diagonals, uint index) {
  for (int i = int(index); i < kTileOutputs * 8; i += kTileThreads) diagonals[i] = 0;
}

// A step of Q8 begins at 0, and its sums are scaled. One of bf16 goes on with the sums of the last.
static inline simdgroup_float8x8 begin_step(Bf16Rows, simdgroup_float8x8 sum) { return sum; }
static inline simdgroup_float8x8 begin_step(Q8Rows, simdgroup_float8x8) {
  return make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
}
static inline simdgroup_float8x8 load_scales(Bf16Rows, ThreadgroupPtr<float>) {
  return make_filled_simdgroup_matrix<float, 8, 8>(0.0f);  // not used
}
static inline simdgroup_float8x8 load_scales(Q8Rows, ThreadgroupPtr<float> diagonal) {
  simdgroup_float8x8 scales;
  simdgroup_load(scales, diagonal, 8);
  return scales;
}
static inline simdgroup_float8x8 end_step(Bf16Rows, simdgroup_float8x8, simdgroup_float8x8 part, simdgroup_float8x8) {
  return part;
}
static inline simdgroup_float8x8 end_step(Q8Rows, simdgroup_float8x8 sum, simdgroup_float8x8 part,
                                          simdgroup_float8x8 scales) {
  simdgroup_multiply_accumulate(sum, part, scales, sum);
  return sum;
}

// The same four columns of every 16th row of x.
template <int kRows>
struct TileCopy {
  uint2 x[kRows / 16], x_low[kRows / 16];
};

template <int kRows, bool kLow, typename Weights>
static inline TileCopy<kRows> load_rows(TileSource<Weights> from, int row, int at) {
  TileCopy<kRows> copy;
#pragma clang loop unroll(full)
  for (int i = 0; i < kRows / 16; ++i) {
    const ulong place = ulong(min(from.first_row + row + i * 16, from.last_row)) * ulong(from.in) + ulong(at);
    copy.x[i] = *as_const<uint2>(from.x + place);
    if (kLow) copy.x_low[i] = *as_const<uint2>(from.x_low + place);
  }
  return copy;
}

// Afterwards result (r, o) is as<float>(memory)[r * kSumStride + o].
template <int kRows, bool kLow, typename Weights>
static inline void multiply_tile(TileSource<Weights> from, DevicePtr<const float> bias, bool biased,
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
  const ThreadgroupPtr<float> diagonals = as<float>(low_memory + kRows * kTileStride / 4);
  const ThreadgroupPtr<bfloat> w_tile = as<bfloat>(memory) + int(simdgroup) * 16 * kTileStride;
  const ThreadgroupPtr<bfloat> x_tile = as<bfloat>(x_memory), low_tile = as<bfloat>(low_memory);
  const int row = int(index) / 8, four = int(index) % 8, place = row * (kTileStride / 4) + four;
  clear_diagonals(from.w, diagonals, index);
  auto weights = load_weights(from, row, four * 4);
  TileCopy<kRows> copy = load_rows<kRows, kLow>(from, row, four * 4);
  for (int column = 0; column < from.in; column += kTileDepth) {
    threadgroup_barrier(mem_flags::mem_threadgroup);  // all simdgroups have read what is overwritten now
    store_weights(weights, memory, diagonals, place, index);
#pragma clang loop unroll(full)
    for (int i = 0; i < kRows / 16; ++i) {
      x_memory[place + i * 16 * (kTileStride / 4)] = copy.x[i];
      if (kLow) low_memory[place + i * 16 * (kTileStride / 4)] = copy.x_low[i];
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (column + kTileDepth < from.in) {
      weights = load_weights(from, row, column + kTileDepth + four * 4);
      copy = load_rows<kRows, kLow>(from, row, column + kTileDepth + four * 4);
    }
    simdgroup_float8x8 parts[kRows / 8][2];
#pragma clang loop unroll(full)
    for (int m = 0; m < kRows / 8; ++m) {
#pragma clang loop unroll(full)
      for (int n = 0; n < 2; ++n) parts[m][n] = begin_step(from.w, sums[m][n]);
    }
#pragma clang loop unroll(full)
    for (int d = 0; d < kTileDepth; d += 8) {
      simdgroup_bfloat8x8 w0, w1, values;
      simdgroup_load(w0, w_tile + d, kTileStride, ulong2(0), true);
      simdgroup_load(w1, w_tile + (8 * kTileStride + d), kTileStride, ulong2(0), true);
#pragma clang loop unroll(full)
      for (int m = 0; m < kRows / 8; ++m) {
        simdgroup_load(values, x_tile + (m * 8 * kTileStride + d), kTileStride);
        simdgroup_multiply_accumulate(parts[m][0], values, w0, parts[m][0]);
        simdgroup_multiply_accumulate(parts[m][1], values, w1, parts[m][1]);
        if (kLow) {
          simdgroup_load(values, low_tile + (m * 8 * kTileStride + d), kTileStride);
          simdgroup_multiply_accumulate(parts[m][0], values, w0, parts[m][0]);
          simdgroup_multiply_accumulate(parts[m][1], values, w1, parts[m][1]);
        }
      }
    }
#pragma clang loop unroll(full)
    for (int n = 0; n < 2; ++n) {
      const simdgroup_float8x8 scales = load_scales(from.w, diagonals + (int(simdgroup) * 16 + n * 8) * 8);
#pragma clang loop unroll(full)
      for (int m = 0; m < kRows / 8; ++m) sums[m][n] = end_step(from.w, sums[m][n], parts[m][n], scales);
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
