// The product of a few rows x [rows, in] and a matrix w [outputs, in], for decoding: each weight is read once for all
// rows. A sum has the same order whatever the number of rows: each thread adds its columns, then come the lanes, then
// the simdgroups. So a row has the same bits alone and in company.
//
// The order of the columns lets neighboring threads load neighboring 8 bytes. Splitting them over four simdgroups gives
// even the router, which has only 32 outputs, enough threads to wait for memory.
#pragma once
#include "kernels/metal/dense.h"
#include "kernels/metal/lang.h"

namespace oss {

static inline float4 four_bf16(uint2 bits) {
  return float4(as_type<float>(bits.x << 16), as_type<float>(bits.x & 0xFFFF0000u), as_type<float>(bits.y << 16),
                as_type<float>(bits.y & 0xFFFF0000u));
}

template <int kRows, int kOutputs>
struct FewSums {
  float of[kRows][kOutputs];
};

// The floats of threadgroup memory that few_rows() needs.
#define OSS_FEW_PARTS(rows, outputs) ((rows) * (outputs) * (kFewThreads / 32))

// Output i is row first + i of w. With kRun < kOutputs, each kRun of them lie 32 rows behind the ones before: the halves
// of a head. No row past `last` is read. Afterwards few_rows_sum() has the sums.
template <int kRows, int kOutputs, int kRun, bool kLow>
static inline void few_rows(DevicePtr<const ushort> x, DevicePtr<const ushort> x_low, int rows,
                            DevicePtr<const ushort> w, int first, int last, int in, ThreadgroupPtr<float> parts,
                            uint index, uint lane, uint simdgroup) {
  FewSums<kRows, kOutputs> sums;
#pragma clang loop unroll(full)
  for (int r = 0; r < kRows; ++r) {
#pragma clang loop unroll(full)
    for (int o = 0; o < kOutputs; ++o) sums.of[r][o] = 0;
  }
  const DevicePtr<const ushort> w_first = w + ulong(first) * ulong(in);
  for (int c = int(index) * 4; c < in; c += kFewThreads * 4) {
    float4 values[kRows];
#pragma clang loop unroll(full)
    for (int r = 0; r < kRows; ++r) {
      const int from = min(r, rows - 1) * in + c;  // rows past the end: any values, as nobody reads their sums
      values[r] = four_bf16(*as_const<uint2>(x + from));
      if (kLow) values[r] = values[r] + four_bf16(*as_const<uint2>(x_low + from));  // exact: 16 bits
    }
#pragma clang loop unroll(full)
    for (int o = 0; o < kOutputs; ++o) {
      const int row = min(o % kRun + o / kRun * 32, last - first);
      const float4 weights = four_bf16(*as_const<uint2>(w_first + (row * in + c)));
#pragma clang loop unroll(full)
      for (int r = 0; r < kRows; ++r) {
        float sum = fma(values[r].x, weights.x, sums.of[r][o]);
        sum = fma(values[r].y, weights.y, sum);
        sum = fma(values[r].z, weights.z, sum);
        sums.of[r][o] = fma(values[r].w, weights.w, sum);
      }
    }
  }
#pragma clang loop unroll(full)
  for (int r = 0; r < kRows; ++r) {
#pragma clang loop unroll(full)
    for (int o = 0; o < kOutputs; ++o) {
      const float sum = simd_sum(sums.of[r][o]);
      if (lane == 0) parts[(int(simdgroup) * kRows + r) * kOutputs + o] = sum;
    }
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
}

template <int kRows, int kOutputs>
static inline float few_rows_sum(ThreadgroupPtr<float> parts, int row, int output) {
  float sum = 0;
#pragma clang loop unroll(full)
  for (int part = 0; part < kFewThreads / 32; ++part) sum += parts[(part * kRows + row) * kOutputs + output];
  return sum;
}

}  // namespace oss
