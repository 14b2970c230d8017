// Code shared by experts.cu and few_experts.cu: the packed operands, and the epilogues.
#pragma once
#include "kernels/common/swiglu.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/mxfp4.cuh"
#include "kernels/cuda/ptx/convert.cuh"
#include "kernels/cuda/ptx/mma.cuh"
#include "kernels/cuda/ptx/shared.cuh"
#include "kernels/cuda/warp.cuh"

namespace oss::cuda {

constexpr int kExpertThreads = kParts * kWarp;
constexpr int kTokenTile = 8;  // columns of the second operand of mma.m16n8k16
constexpr int kMaxExperts = 256;

// A column tile has 16 bytes of codes for each lane and four bytes of scales for each pair of rows. It also has 8 times
// 16 bytes of a token's 64 columns, of which a lane takes one in each half.
constexpr int kCodeLoads = kWarp, kScaleWords = kRowTile / 2, kTokenLoads = kExpertColTile * 2 / 16;

struct PackedCodes {
  const uint4* codes;      // [experts, row_tiles, col_tiles, lane]
  const uint32_t* scales;  // [experts, row_tiles, col_tiles, g]
  int row_tiles, col_tiles;
};

// The other operand: the row of each pair, which several pairs may share. Columns from `cols` on count as zero.
struct Inputs {
  int cols, stride, pairs_per_row;

  __device__ __forceinline__ uint32_t row_of_pair(int pair) const { return uint32_t(pair) / uint32_t(pairs_per_row); }
};

// --- epilogues: process the sums of rows g and g + 8 of a row tile ---------------------------------------------------

// A float with the functions that swiglu() needs. min(bound, x) keeps a NaN in x, unlike CUDA's min. A sum is never
// fused with the previous product, so that experts and few_experts round equally under every optimization.
struct Real {
  float value;
  __device__ explicit Real(float v) : value(v) {}
  __device__ friend Real operator+(Real a, Real b) { return Real(__fadd_rn(a.value, b.value)); }
  __device__ friend Real operator*(Real a, Real b) { return Real(a.value * b.value); }
  __device__ friend Real operator/(Real a, Real b) { return Real(a.value / b.value); }
  __device__ friend Real min(Real bound, Real x) { return bound.value < x.value ? bound : x; }
  __device__ friend Real max(Real bound, Real x) { return bound.value > x.value ? bound : x; }
  __device__ friend Real exp(Real x) { return Real(expf(x.value)); }
};

struct GateUp {
  float limit, alpha;
  const float* bias;  // [experts, 16 * row_tiles]
  bf16* act;          // [pairs, stride]
  int stride;

  __device__ __forceinline__ float2 biases(int tile_of_all, int g) const {
    return *reinterpret_cast<const float2*>(bias + size_t(tile_of_all) * kRowTile + 2 * g);
  }
  __device__ __forceinline__ void store(int row_tile, int g, int pair, float gate, float up) const {
    const float y = swiglu(Real(gate), Real(up), alpha, limit).value;
    act[size_t(pair) * stride + row_tile * (kRowTile / 2) + g] = bf16(pack_bf16x2(y, 0));
  }
};

struct Down {
  const float* bias;  // [experts, 16 * row_tiles]
  float* out;         // [pairs, stride]
  int stride;

  __device__ __forceinline__ float2 biases(int tile_of_all, int g) const {
    const float* first = bias + size_t(tile_of_all) * kRowTile + g;
    return {first[0], first[8]};
  }
  __device__ __forceinline__ void store(int row_tile, int g, int pair, float low, float high) const {
    float* to = out + size_t(pair) * stride + row_tile * kRowTile + g;
    to[0] = low;
    to[8] = high;
  }
};

inline PackedCodes packed_codes(const PackedExperts& w, int rows, int cols) {
  return {static_cast<const uint4*>(w.codes), static_cast<const uint32_t*>(w.scales), rows / kRowTile,
          int(tiles_of(cols, kExpertColTile))};
}

// The parts of the scratch memory of a step of at most args.tokens tokens.
struct ExpertsBuffers {
  bf16* act;   // [pairs, act_stride]
  float* out;  // [pairs, hidden]
  void* lists;
  int32_t* done;  // [hidden / kRowTile] completed parts of a row tile's sums; 0 between steps
  int act_stride;

  ExpertsBuffers(const ExpertsArgs& args, void* scratch) {
    const ExpertsScratch at = experts_scratch(args.tokens, args.top_k, args.experts, args.hidden, args.intermediate);
    char* base = static_cast<char*>(scratch);
    act = reinterpret_cast<bf16*>(base + at.activations);
    out = reinterpret_cast<float*>(base + at.outputs);
    lists = base + at.lists;
    done = reinterpret_cast<int32_t*>(base + at.done);
    act_stride = int(tiles_of(args.intermediate, kExpertColTile)) * kExpertColTile;
  }
};

inline bool experts_fit(const ExpertsArgs& args) {
  return args.hidden % kMxBlock == 0 && args.intermediate % kMxBlock == 0 && args.experts <= kMaxExperts &&
         tiles_of(max(args.hidden, args.intermediate), kExpertColTile) <= kParts * kPartTiles;
}

}  // namespace oss::cuda
