// The experts of one layer as in experts.metal, for many tokens. Pairs are sorted by expert. Then tiles of up to 16, 32
// or 64 pairs of one expert are multiplied by matrices of simdgroups. Then the outputs of a token are summed.
//   pairs  [pairs]: by expert, then in their order      out  [pairs, hidden]  f32
// experts_gate_up_N_terms add the terms of adapters, as experts_gate_up_terms does.
//
// Traffic: the weights of an expert once for each of its tiles. With many pairs per expert, the time is that of
// 6·intermediate·hidden FLOP per pair.
//
// Weights are dequantised into threadgroup memory as bf16, which has all values of MXFP4 exactly. A sum has one order,
// independent of the rest of the step and of the height of tiles: one block of 32 columns after the other.
#include "kernels/common/dtype.h"
#include "kernels/metal/experts.h"
#include "kernels/metal/lang.h"
#include "kernels/metal/low_rank_terms.h"
#include "kernels/metal/mxfp4.h"
#include "kernels/metal/swiglu.h"

using namespace oss;

// --- the sort --------------------------------------------------------------------------------------------------------

// One threadgroup per expert. Each finds its place by itself: it counts the pairs of lower experts, too. Its simdgroups
// take a range of the pairs each.
kernel void experts_sort(constant SortExpertsLaunch& args [[buffer(0)]], DevicePtr<const int> chosen [[buffer(1)]],
                         DevicePtr<int> pairs [[buffer(2)]], DevicePtr<ExpertTile> tiles [[buffer(3)]], OSS_POSITION) {
  OSS_THREADGROUP(int, lower, kSortSimdgroups);
  OSS_THREADGROUP(int, same, kSortSimdgroups);
  const int expert = int(group.x), per_lane = (args.pairs + kSortSimdgroups * 32 - 1) / (kSortSimdgroups * 32);
  const int begin = int(simdgroup) * per_lane * 32, end = min(begin + per_lane * 32, args.pairs);
  int my_lower = 0, my_same = 0;
  for (int p = begin + int(lane); p < end; p += 32) {
    my_lower += chosen[p] < expert ? 1 : 0;
    my_same += chosen[p] == expert ? 1 : 0;
  }
  my_lower = simd_sum(my_lower);
  my_same = simd_sum(my_same);
  if (lane == 0) {
    lower[simdgroup] = my_lower;
    same[simdgroup] = my_same;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  int first = 0, count = 0, before = 0;
  for (int s = 0; s < kSortSimdgroups; ++s) {
    first += lower[s];
    if (s < int(simdgroup)) before += same[s];
    count += same[s];
  }

  int place = first + before;
  for (int from = begin; from < end; from += 32) {
    const int pair = from + int(lane);
    const int mine = pair < end && chosen[min(pair, args.pairs - 1)] == expert ? 1 : 0;
    const int rank = simd_prefix_exclusive_sum(mine);
    if (mine != 0) pairs[place + rank] = pair;
    place += simd_sum(mine);
  }

  // Places that are left over get tiles without rows.
  const int begin_tile = first_expert_tile(expert, first, args.tile_rows);
  const int end_tile = first_expert_tile(expert + 1, first + count, args.tile_rows);
  for (int t = begin_tile + int(index); t < end_tile; t += kSortSimdgroups * 32) {
    const int at = (t - begin_tile) * args.tile_rows;
    const ExpertTile tile = {expert, first + at, clamp(count - at, 0, args.tile_rows)};
    tiles[t] = tile;
  }
}
OSS_KERNEL(experts_sort)

// --- the products ----------------------------------------------------------------------------------------------------

// Four neighbouring outputs of a pair, without their bias.
struct GateUpOutputs {
  DevicePtr<ushort> act;  // [pairs, units]
  int units;
  float limit, alpha;
  void store(int pair, int column, float4 v) const {
    const uint low = f32_to_bf16(clamped_swiglu(v.x, v.y, alpha, limit));
    const uint high = f32_to_bf16(clamped_swiglu(v.z, v.w, alpha, limit));
    *as<uint>(act + (ulong(pair) * ulong(units) + column / 2)) = low | high << 16;
  }
};
// With the terms of adapters.
struct GateUpWithTerms {
  GateUpOutputs plain;
  AdapterTerms terms;
  void store(int pair, int column, float4 v) const {
    plain.store(pair, column, terms.has(pair) ? v + *as_const<float4>(terms.of(pair) + column) : v);
  }
};
struct DownOutputs {
  DevicePtr<float> out;  // [pairs, hidden]
  int hidden;
  void store(int pair, int column, float4 v) const { *as<float4>(out + (ulong(pair) * ulong(hidden) + column)) = v; }
};

// Rows of blocks of inputs and weights: see below.
OSS_FN constexpr int tile_memory(int rows) { return rows * 4 + kTileColumns * 4; }

// Threadgroups: x = columns of the outputs, y = tiles.
//
// In one step, 32 columns of the inputs and of the weights lie there in blocks of 8 x 8 values, as simdgroup_load reads
// them best: an element of `memory` is one row of a block. The next step's loads are under way meanwhile. A simdgroup
// multiplies weights (the rows of its products) by inputs (the columns).
template <int kRows, typename Outputs>
static inline void multiply_tile(constant ExpertTilesLaunch& args, DevicePtr<const uint2> blocks,
                                 DevicePtr<const uchar> scales, DevicePtr<const float> bias,
                                 DevicePtr<const uint4> inputs, ExpertTile tile, DevicePtr<const int> pairs,
                                 Outputs outputs, ThreadgroupPtr<uint4> memory, uint3 group, uint index,
                                 uint simdgroup) {
  if (tile.rows == 0) return;
  constexpr int kRowGroups = kRows == 16 ? 1 : 2;        // of simdgroups
  constexpr int kGroupRows = kRows / kRowGroups;         // pairs of each
  constexpr int kM = kGroupRows / 8;                     // blocks of pairs of a simdgroup
  constexpr int kN = kTileColumns / 8 * kRowGroups / 4;  // blocks of outputs of a simdgroup
  constexpr int kLoads = kRows == 64 ? 2 : 1;            // of inputs, by each thread
  constexpr int kWeights = kRows * 4;                    // where the weights begin in `memory`
  const int my_index = int(index);

  // What this thread loads in every step: half a block of one row of weights, and eight columns of up to two pairs.
  // Past the last row or pair it loads another one, whose products are dropped.
  const int first_column = int(group.x) * kTileColumns;
  const int w_row = my_index / 2, w_half = my_index % 2;
  const ulong matrix_row = ulong(tile.expert) * ulong(args.outputs) + min(first_column + w_row, args.outputs - 1);
  DevicePtr<const uint2> codes = blocks + (matrix_row * ulong(args.cols / 16) + w_half);
  DevicePtr<const uchar> scale = scales + matrix_row * ulong(args.cols / 32);
  const int to_weights = kWeights + (w_row / 8 * 4 + w_half * 2) * 8 + w_row % 8;
  const int x_row = my_index / 4, x_part = my_index % 4;
  const bool has_input = kRows >= 32 || x_row < kRows;
  ulong input[kLoads];
  for (int i = 0; i < kLoads; ++i) {
    const int row = min(x_row + 32 * i, tile.rows - 1);
    input[i] = ulong(pairs[tile.first + row] / args.pairs_per_input) * ulong(args.cols / 8) + x_part;
  }

  const int row_group = int(simdgroup) % kRowGroups, column_group = int(simdgroup) / kRowGroups;
  const int my_rows = tile.rows - row_group * kGroupRows;
  const bool is_used = my_rows > 0, is_full = my_rows > kGroupRows / 2;  // or the second half of its pairs is empty
  const ThreadgroupPtr<bfloat> my_inputs = as<bfloat>(memory + row_group * kM * 32);
  const ThreadgroupPtr<bfloat> my_weights = as<bfloat>(memory + (kWeights + column_group * kN * 32));
  simdgroup_float8x8 sums[kN][kM];
#pragma unroll
  for (int n = 0; n < kN; ++n) {
#pragma unroll
    for (int m = 0; m < kM; ++m) sums[n][m] = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
  }

  const int steps = args.cols / 32;
  uint2 next_codes = codes[0];
  uint next_scale = scale[0];
  uint4 next_inputs[kLoads];
  for (int i = 0; i < kLoads; ++i) next_inputs[i] = inputs[input[i]];
  for (int step = 0; step < steps; ++step) {
    threadgroup_barrier(mem_flags::mem_threadgroup);  // the previous step's matrices are loaded
    const float half_scale = e8m0_half(next_scale);
    memory[to_weights] = mxfp4_values(next_codes.x, half_scale);
    memory[to_weights + 8] = mxfp4_values(next_codes.y, half_scale);
    if (has_input) {
      for (int i = 0; i < kLoads; ++i) memory[((x_row + 32 * i) / 8 * 4 + x_part) * 8 + x_row % 8] = next_inputs[i];
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (step + 1 < steps) {
      next_codes = codes[2 * (step + 1)];
      next_scale = scale[step + 1];
      for (int i = 0; i < kLoads; ++i) next_inputs[i] = inputs[input[i] + 4 * (step + 1)];
    }
    if (!is_used) continue;
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      simdgroup_bfloat8x8 w[kN];
#pragma unroll
      for (int n = 0; n < kN; ++n) simdgroup_load(w[n], my_weights + (n * 4 + k) * 64, 8, ulong2(0), false);
#pragma unroll
      for (int m = 0; m < kM; ++m) {
        if (m >= kM / 2 && !is_full) continue;
        simdgroup_bfloat8x8 x;
        simdgroup_load(x, my_inputs + (m * 4 + k) * 64, 8, ulong2(0), true);
#pragma unroll
        for (int n = 0; n < kN; ++n) simdgroup_multiply_accumulate(sums[n][m], w[n], x, sums[n][m]);
      }
    }
  }

  // The sums of each group of rows pass through `memory`: [kGroupRows, kTileColumns].
  for (int g = 0; g < kRowGroups; ++g) {
    threadgroup_barrier(mem_flags::mem_threadgroup);  // what lay there has been read
    if (row_group == g && is_used) {
      const ThreadgroupPtr<float> to = as<float>(memory) + column_group * kN * 8;
#pragma unroll
      for (int n = 0; n < kN; ++n) {
#pragma unroll
        for (int m = 0; m < kM; ++m)
          simdgroup_store(sums[n][m], to + (m * 8 * kTileColumns + n * 8), kTileColumns, ulong2(0), true);
      }
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    const ThreadgroupPtr<float4> from = as<float4>(memory);
    const int rows = min(tile.rows - g * kGroupRows, kGroupRows);
    for (int i = my_index; i < rows * (kTileColumns / 4); i += kExpertTileThreads) {
      const int row = i / (kTileColumns / 4), column = first_column + i % (kTileColumns / 4) * 4;
      if (column >= args.outputs) continue;
      DevicePtr<const float> b = bias + (ulong(tile.expert) * ulong(args.outputs) + column);
      outputs.store(pairs[tile.first + g * kGroupRows + row], column, from[i] + float4(b[0], b[1], b[2], b[3]));
    }
  }
}

kernel void experts_gate_up_16(constant ExpertTilesLaunch& args [[buffer(0)]],
                               DevicePtr<const uint2> blocks [[buffer(1)]], DevicePtr<const uchar> scales [[buffer(2)]],
                               DevicePtr<const float> bias [[buffer(3)]], DevicePtr<const uint4> normed [[buffer(4)]],
                               DevicePtr<const ExpertTile> tiles [[buffer(5)]],
                               DevicePtr<const int> pairs [[buffer(6)]], DevicePtr<ushort> act [[buffer(7)]],
                               OSS_POSITION) {
  OSS_THREADGROUP(uint4, memory, tile_memory(16));
  const GateUpOutputs outputs = {act, args.outputs / 2, args.limit, args.alpha};
  multiply_tile<16>(args, blocks, scales, bias, normed, tiles[group.y], pairs, outputs, memory + 0, group, index,
                    simdgroup);
}
OSS_KERNEL(experts_gate_up_16)

kernel void experts_gate_up_16_terms(
    constant ExpertTilesLaunch& args [[buffer(0)]], DevicePtr<const uint2> blocks [[buffer(1)]],
    DevicePtr<const uchar> scales [[buffer(2)]], DevicePtr<const float> bias [[buffer(3)]],
    DevicePtr<const uint4> normed [[buffer(4)]], DevicePtr<const ExpertTile> tiles [[buffer(5)]],
    DevicePtr<const int> pairs [[buffer(6)]], DevicePtr<ushort> act [[buffer(7)]],
    DevicePtr<const int> place [[buffer(8)]], DevicePtr<const float> of_adapters [[buffer(9)]], OSS_POSITION) {
  OSS_THREADGROUP(uint4, memory, tile_memory(16));
  const GateUpWithTerms outputs = {{act, args.outputs / 2, args.limit, args.alpha},
                                   {place, of_adapters, args.pairs_per_input, args.outputs}};
  multiply_tile<16>(args, blocks, scales, bias, normed, tiles[group.y], pairs, outputs, memory + 0, group, index,
                    simdgroup);
}
OSS_KERNEL(experts_gate_up_16_terms)

kernel void experts_gate_up_32(constant ExpertTilesLaunch& args [[buffer(0)]],
                               DevicePtr<const uint2> blocks [[buffer(1)]], DevicePtr<const uchar> scales [[buffer(2)]],
                               DevicePtr<const float> bias [[buffer(3)]], DevicePtr<const uint4> normed [[buffer(4)]],
                               DevicePtr<const ExpertTile> tiles [[buffer(5)]],
                               DevicePtr<const int> pairs [[buffer(6)]], DevicePtr<ushort> act [[buffer(7)]],
                               OSS_POSITION) {
  OSS_THREADGROUP(uint4, memory, tile_memory(32));
  const GateUpOutputs outputs = {act, args.outputs / 2, args.limit, args.alpha};
  multiply_tile<32>(args, blocks, scales, bias, normed, tiles[group.y], pairs, outputs, memory + 0, group, index,
                    simdgroup);
}
OSS_KERNEL(experts_gate_up_32)

kernel void experts_gate_up_32_terms(
    constant ExpertTilesLaunch& args [[buffer(0)]], DevicePtr<const uint2> blocks [[buffer(1)]],
    DevicePtr<const uchar> scales [[buffer(2)]], DevicePtr<const float> bias [[buffer(3)]],
    DevicePtr<const uint4> normed [[buffer(4)]], DevicePtr<const ExpertTile> tiles [[buffer(5)]],
    DevicePtr<const int> pairs [[buffer(6)]], DevicePtr<ushort> act [[buffer(7)]],
    DevicePtr<const int> place [[buffer(8)]], DevicePtr<const float> of_adapters [[buffer(9)]], OSS_POSITION) {
  OSS_THREADGROUP(uint4, memory, tile_memory(32));
  const GateUpWithTerms outputs = {{act, args.outputs / 2, args.limit, args.alpha},
                                   {place, of_adapters, args.pairs_per_input, args.outputs}};
  multiply_tile<32>(args, blocks, scales, bias, normed, tiles[group.y], pairs, outputs, memory + 0, group, index,
                    simdgroup);
}
OSS_KERNEL(experts_gate_up_32_terms)

kernel void experts_gate_up_64(constant ExpertTilesLaunch& args [[buffer(0)]],
                               DevicePtr<const uint2> blocks [[buffer(1)]], DevicePtr<const uchar> scales [[buffer(2)]],
                               DevicePtr<const float> bias [[buffer(3)]], DevicePtr<const uint4> normed [[buffer(4)]],
                               DevicePtr<const ExpertTile> tiles [[buffer(5)]],
                               DevicePtr<const int> pairs [[buffer(6)]], DevicePtr<ushort> act [[buffer(7)]],
                               OSS_POSITION) {
  OSS_THREADGROUP(uint4, memory, tile_memory(64));
  const GateUpOutputs outputs = {act, args.outputs / 2, args.limit, args.alpha};
  multiply_tile<64>(args, blocks, scales, bias, normed, tiles[group.y], pairs, outputs, memory + 0, group, index,
                    simdgroup);
}
OSS_KERNEL(experts_gate_up_64)

kernel void experts_gate_up_64_terms(
    constant ExpertTilesLaunch& args [[buffer(0)]], DevicePtr<const uint2> blocks [[buffer(1)]],
    DevicePtr<const uchar> scales [[buffer(2)]], DevicePtr<const float> bias [[buffer(3)]],
    DevicePtr<const uint4> normed [[buffer(4)]], DevicePtr<const ExpertTile> tiles [[buffer(5)]],
    DevicePtr<const int> pairs [[buffer(6)]], DevicePtr<ushort> act [[buffer(7)]],
    DevicePtr<const int> place [[buffer(8)]], DevicePtr<const float> of_adapters [[buffer(9)]], OSS_POSITION) {
  OSS_THREADGROUP(uint4, memory, tile_memory(64));
  const GateUpWithTerms outputs = {{act, args.outputs / 2, args.limit, args.alpha},
                                   {place, of_adapters, args.pairs_per_input, args.outputs}};
  multiply_tile<64>(args, blocks, scales, bias, normed, tiles[group.y], pairs, outputs, memory + 0, group, index,
                    simdgroup);
}
OSS_KERNEL(experts_gate_up_64_terms)

kernel void experts_down_16(constant ExpertTilesLaunch& args [[buffer(0)]], DevicePtr<const uint2> blocks [[buffer(1)]],
                            DevicePtr<const uchar> scales [[buffer(2)]], DevicePtr<const float> bias [[buffer(3)]],
                            DevicePtr<const uint4> act [[buffer(4)]], DevicePtr<const ExpertTile> tiles [[buffer(5)]],
                            DevicePtr<const int> pairs [[buffer(6)]], DevicePtr<float> out [[buffer(7)]],
                            OSS_POSITION) {
  OSS_THREADGROUP(uint4, memory, tile_memory(16));
  const DownOutputs outputs = {out, args.outputs};
  multiply_tile<16>(args, blocks, scales, bias, act, tiles[group.y], pairs, outputs, memory + 0, group, index,
                    simdgroup);
}
OSS_KERNEL(experts_down_16)

kernel void experts_down_32(constant ExpertTilesLaunch& args [[buffer(0)]], DevicePtr<const uint2> blocks [[buffer(1)]],
                            DevicePtr<const uchar> scales [[buffer(2)]], DevicePtr<const float> bias [[buffer(3)]],
                            DevicePtr<const uint4> act [[buffer(4)]], DevicePtr<const ExpertTile> tiles [[buffer(5)]],
                            DevicePtr<const int> pairs [[buffer(6)]], DevicePtr<float> out [[buffer(7)]],
                            OSS_POSITION) {
  OSS_THREADGROUP(uint4, memory, tile_memory(32));
  const DownOutputs outputs = {out, args.outputs};
  multiply_tile<32>(args, blocks, scales, bias, act, tiles[group.y], pairs, outputs, memory + 0, group, index,
                    simdgroup);
}
OSS_KERNEL(experts_down_32)

kernel void experts_down_64(constant ExpertTilesLaunch& args [[buffer(0)]], DevicePtr<const uint2> blocks [[buffer(1)]],
                            DevicePtr<const uchar> scales [[buffer(2)]], DevicePtr<const float> bias [[buffer(3)]],
                            DevicePtr<const uint4> act [[buffer(4)]], DevicePtr<const ExpertTile> tiles [[buffer(5)]],
                            DevicePtr<const int> pairs [[buffer(6)]], DevicePtr<float> out [[buffer(7)]],
                            OSS_POSITION) {
  OSS_THREADGROUP(uint4, memory, tile_memory(64));
  const DownOutputs outputs = {out, args.outputs};
  multiply_tile<64>(args, blocks, scales, bias, act, tiles[group.y], pairs, outputs, memory + 0, group, index,
                    simdgroup);
}
OSS_KERNEL(experts_down_64)

// --- the sum over a token's experts ----------------------------------------------------------------------------------

// Threadgroups: x = columns, y = tokens. A thread has four columns.
kernel void experts_combine(constant CombineExpertsLaunch& args [[buffer(0)]],
                            DevicePtr<const float> weight [[buffer(1)]], DevicePtr<const float> out [[buffer(2)]],
                            DevicePtr<float> x [[buffer(3)]], OSS_POSITION) {
  const int column = (int(group.x) * kCombineThreads + int(index)) * 4;
  if (column >= args.hidden) return;
  float4 total = float4(0);
  for (int k = 0; k < args.top_k; ++k) {
    const ulong pair = ulong(group.y) * ulong(args.top_k) + k;
    total = fma(float4(weight[pair]), *as_const<float4>(out + (pair * ulong(args.hidden) + column)), total);
  }
  DevicePtr<float4> to = as<float4>(x + (ulong(group.y) * ulong(args.hidden) + column));
  *to = *to + total;
}
OSS_KERNEL(experts_combine)
