// Linear:  y[r,o] (=|+=) (x[r] + x_low[r]) · w[o] + bias[o]
//   x, x_low  [rows, in]  bf16      w  [out, in]  bf16, aligned to 8 bytes, or Q8 (dense_rows.h)      bias  [out]  f32
//   y  [rows, out]  f32      in % 32 == 0
//
// linear_rows_N: up to N rows, one threadgroup per few outputs (few_rows.h). Traffic 2·in·out bytes, of Q8
// 17/16·in·out: the weights, once.
// linear_tiles_N: any number of rows, one threadgroup per N rows and 64 outputs (dense_tiles.h). Neighboring
// threadgroups have the same weights, so that one of them finds in a cache what the other has read.
// ..._low: with x_low; ..._q8: with w in Q8. The old y is added last, when it is a residual stream whose values exceed
// the products by far.
#include "kernels/metal/linear.h"

#include "kernels/metal/dense_tiles.h"
#include "kernels/metal/few_rows.h"
#include "kernels/metal/lang.h"

using namespace oss;

template <int kRows, int kOutputs, bool kLow, typename Weights>
static inline void linear_rows(constant LinearLaunch& args, DevicePtr<const ushort> x, DevicePtr<const ushort> x_low,
                               Weights w, DevicePtr<const float> bias, DevicePtr<float> y, ThreadgroupPtr<float> parts,
                               int first, uint index, uint lane, uint simdgroup) {
  few_rows<kRows, kOutputs, kOutputs, kLow>(x, x_low, args.rows, w, first, args.out - 1, args.in, parts, index, lane,
                                            simdgroup);
  const int row = int(index) / kOutputs, output = int(index) % kOutputs;
  if (row >= kRows || row >= args.rows || first + output >= args.out) return;
  float sum = few_rows_sum<kRows, kOutputs>(parts, row, output);
  if (args.biased != 0) sum += bias[first + output];
  const ulong to = ulong(row) * ulong(args.out) + ulong(first + output);
  if (args.accumulate != 0) sum += y[to];
  y[to] = sum;
}

template <int kRows, bool kLow, typename Weights>
static inline void linear_tiles(constant LinearLaunch& args, DevicePtr<const ushort> x, DevicePtr<const ushort> x_low,
                                Weights w, DevicePtr<const float> bias, DevicePtr<float> y,
                                ThreadgroupPtr<uint2> memory, uint3 group, uint index, uint simdgroup) {
  const int first_row = int(group.x) * kRows, first = int(group.y) * kTileOutputs;
  const TileSource<Weights> from = {x, x_low, w, first_row, args.rows - 1, first, args.out - 1, args.in};
  multiply_tile<kRows, kLow>(from, bias, args.biased != 0, memory, index, simdgroup);
  const ThreadgroupPtr<float> results = as<float>(memory);
  for (int i = int(index); i < kRows * kTileOutputs; i += kTileThreads) {
    const int r = i / kTileOutputs, o = i % kTileOutputs;
    if (first_row + r >= args.rows || first + o >= args.out) continue;
    float sum = results[r * kSumStride + o];
    const ulong to = ulong(first_row + r) * ulong(args.out) + ulong(first + o);
    if (args.accumulate != 0) sum += y[to];
    y[to] = sum;
  }
}

#define OSS_LINEAR_PARAMETERS                                                               \
  constant LinearLaunch& args [[buffer(0)]], DevicePtr<const ushort> x [[buffer(1)]],       \
      DevicePtr<const ushort> x_low [[buffer(2)]], DevicePtr<const ushort> w [[buffer(3)]], \
      DevicePtr<const float> bias [[buffer(4)]], DevicePtr<float> y [[buffer(5)]], OSS_POSITION
#define OSS_LINEAR_Q8_PARAMETERS                                                               \
  constant LinearLaunch& args [[buffer(0)]], DevicePtr<const ushort> x [[buffer(1)]],          \
      DevicePtr<const ushort> x_low [[buffer(2)]], DevicePtr<const uchar> codes [[buffer(3)]], \
      DevicePtr<const half> scales [[buffer(4)]], DevicePtr<const float> bias [[buffer(5)]],   \
      DevicePtr<float> y [[buffer(6)]], OSS_POSITION

#define OSS_LINEAR_WEIGHTS Bf16Rows{w}
#define OSS_LINEAR_Q8_WEIGHTS Q8Rows{codes, scales}

#define OSS_LINEAR_ROWS(name, rows, low, parameters, weights)                                                      \
  kernel void name(parameters) {                                                                                   \
    OSS_THREADGROUP(float, parts, OSS_FEW_PARTS(rows, few_rows_outputs(rows)));                                    \
    linear_rows<rows, few_rows_outputs(rows), low>(args, x, x_low, weights, bias, y, parts,                        \
                                                   int(group.x) * few_rows_outputs(rows), index, lane, simdgroup); \
  }                                                                                                                \
  OSS_KERNEL(name)
OSS_LINEAR_ROWS(linear_rows_1, 1, false, OSS_LINEAR_PARAMETERS, OSS_LINEAR_WEIGHTS)
OSS_LINEAR_ROWS(linear_rows_2, 2, false, OSS_LINEAR_PARAMETERS, OSS_LINEAR_WEIGHTS)
OSS_LINEAR_ROWS(linear_rows_4, 4, false, OSS_LINEAR_PARAMETERS, OSS_LINEAR_WEIGHTS)
OSS_LINEAR_ROWS(linear_rows_8, 8, false, OSS_LINEAR_PARAMETERS, OSS_LINEAR_WEIGHTS)
OSS_LINEAR_ROWS(linear_rows_1_low, 1, true, OSS_LINEAR_PARAMETERS, OSS_LINEAR_WEIGHTS)
OSS_LINEAR_ROWS(linear_rows_2_low, 2, true, OSS_LINEAR_PARAMETERS, OSS_LINEAR_WEIGHTS)
OSS_LINEAR_ROWS(linear_rows_4_low, 4, true, OSS_LINEAR_PARAMETERS, OSS_LINEAR_WEIGHTS)
OSS_LINEAR_ROWS(linear_rows_8_low, 8, true, OSS_LINEAR_PARAMETERS, OSS_LINEAR_WEIGHTS)
OSS_LINEAR_ROWS(linear_rows_1_q8, 1, false, OSS_LINEAR_Q8_PARAMETERS, OSS_LINEAR_Q8_WEIGHTS)
OSS_LINEAR_ROWS(linear_rows_2_q8, 2, false, OSS_LINEAR_Q8_PARAMETERS, OSS_LINEAR_Q8_WEIGHTS)
OSS_LINEAR_ROWS(linear_rows_4_q8, 4, false, OSS_LINEAR_Q8_PARAMETERS, OSS_LINEAR_Q8_WEIGHTS)
OSS_LINEAR_ROWS(linear_rows_8_q8, 8, false, OSS_LINEAR_Q8_PARAMETERS, OSS_LINEAR_Q8_WEIGHTS)
OSS_LINEAR_ROWS(linear_rows_1_low_q8, 1, true, OSS_LINEAR_Q8_PARAMETERS, OSS_LINEAR_Q8_WEIGHTS)
OSS_LINEAR_ROWS(linear_rows_2_low_q8, 2, true, OSS_LINEAR_Q8_PARAMETERS, OSS_LINEAR_Q8_WEIGHTS)
OSS_LINEAR_ROWS(linear_rows_4_low_q8, 4, true, OSS_LINEAR_Q8_PARAMETERS, OSS_LINEAR_Q8_WEIGHTS)
OSS_LINEAR_ROWS(linear_rows_8_low_q8, 8, true, OSS_LINEAR_Q8_PARAMETERS, OSS_LINEAR_Q8_WEIGHTS)

#define OSS_LINEAR_TILES(name, rows, low, parameters, weights, size)                            \
  kernel void name(parameters) {                                                                \
    OSS_THREADGROUP(uint2, memory, size(rows));                                                 \
    linear_tiles<rows, low>(args, x, x_low, weights, bias, y, memory, group, index, simdgroup); \
  }                                                                                             \
  OSS_KERNEL(name)
OSS_LINEAR_TILES(linear_tiles_16, kSmallTileRows, false, OSS_LINEAR_PARAMETERS, OSS_LINEAR_WEIGHTS, OSS_TILE_MEMORY)
OSS_LINEAR_TILES(linear_tiles_32, kTileRows, false, OSS_LINEAR_PARAMETERS, OSS_LINEAR_WEIGHTS, OSS_TILE_MEMORY)
OSS_LINEAR_TILES(linear_tiles_16_low, kSmallTileRows, true, OSS_LINEAR_PARAMETERS, OSS_LINEAR_WEIGHTS, OSS_TILE_MEMORY)
OSS_LINEAR_TILES(linear_tiles_32_low, kTileRows, true, OSS_LINEAR_PARAMETERS, OSS_LINEAR_WEIGHTS, OSS_TILE_MEMORY)
OSS_LINEAR_TILES(linear_tiles_16_q8, kSmallTileRows, false, OSS_LINEAR_Q8_PARAMETERS, OSS_LINEAR_Q8_WEIGHTS,
                 OSS_Q8_TILE_MEMORY)
OSS_LINEAR_TILES(linear_tiles_32_q8, kTileRows, false, OSS_LINEAR_Q8_PARAMETERS, OSS_LINEAR_Q8_WEIGHTS,
                 OSS_Q8_TILE_MEMORY)
OSS_LINEAR_TILES(linear_tiles_16_low_q8, kSmallTileRows, true, OSS_LINEAR_Q8_PARAMETERS, OSS_LINEAR_Q8_WEIGHTS,
                 OSS_Q8_TILE_MEMORY)
OSS_LINEAR_TILES(linear_tiles_32_low_q8, kTileRows, true, OSS_LINEAR_Q8_PARAMETERS, OSS_LINEAR_Q8_WEIGHTS,
                 OSS_Q8_TILE_MEMORY)
