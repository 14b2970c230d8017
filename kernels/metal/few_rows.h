// The product of a few rows x [rows, in] and a matrix w [outputs, in], for decoding: each weight is read once for all
// rows. A sum has the same order whatever the number of rows: each thread adds its columns, then come the lanes, then
// the simdgroups. So a row has the same bits alone and in company.
//
// The order of the columns lets neighboring threads load neighboring 8 bytes of weights. Splitting them over four
// simdgroups gives even the router, which has only 32 outputs, enough threads to wait for memory.
#pragma once
#include "kernels/metal/dense.h"
#include "kernels/metal/dense_rows.h"
#include "kernels/metal/lang.h"

namespace oss {

// Weights of one output in kFours times four columns that follow one another.
template <int kFours>
struct Bf16Fours {
  float4 values[kFours];
};
template <int kFours>
struct Q8Fours {
  float4 codes[kFours];
  float scale;  // eight columns from a multiple of eight share one
};

template <int kFours>
static inline Bf16Fours<kFours> load_fours(Bf16Rows from, int at) {
  static_assert(kFours == 1, "8 bytes");
  const Bf16Fours<kFours> out = {{four_bf16(*as_const<uint2>(from.values + at))}};
  return out;
}
template <int kFours>
static inline Q8Fours<kFours> load_fours(Q8Rows from, int at) {
  static_assert(kFours == 1 || kFours == 2, "up to 8 bytes");
  Q8Fours<kFours> out;
  out.scale = float(from.scales[at / kQ8Block]);
  if (kFours == 2) {
    const uint2 codes = *as_const<uint2>(from.codes + at);
    out.codes[0] = four_codes(codes.x);
    out.codes[kFours - 1] = four_codes(codes.y);
  } else {
    out.codes[0] = four_codes(*as_const<uint>(from.codes + at));
  }
  return out;
}

template <int kFours>
static inline float add_four(float4 x, Bf16Fours<kFours> weights, int i, float sum) {
  sum = fma(x.x, weights.values[i].x, sum);
  sum = fma(x.y, weights.values[i].y, sum);
  sum = fma(x.z, weights.values[i].z, sum);
  return fma(x.w, weights.values[i].w, sum);
}
// One multiplication with the scale for four products, in place of one for each weight.
template <int kFours>
static inline float add_four(float4 x, Q8Fours<kFours> weights, int i, float sum) {
  float products = x.x * weights.codes[i].x;
  products = fma(x.y, weights.codes[i].y, products);
  products = fma(x.z, weights.codes[i].z, products);
  products = fma(x.w, weights.codes[i].w, products);
  return fma(products, weights.scale, sum);
}

template <int kRows, int kOutputs>
struct FewSums {
  float of[kRows][kOutputs];
};

// The floats of threadgroup memory that few_rows() needs.
#define OSS_FEW_PARTS(rows, outputs) ((rows) * (outputs) * (kFewThreads / 32))

// Output i is row first + i of w, which is Bf16Rows or Q8Rows. With kRun < kOutputs, each kRun of them lie 32 rows
// behind the ones before: the halves of a head. No row past `last` is read. Afterwards few_rows_sum() has the sums.
template <int kRows, int kOutputs, int kRun, bool kLow, typename Weights>
static inline void few_rows(DevicePtr<const ushort> x, DevicePtr<const ushort> x_low, int rows, Weights w, int first,
                            int last, int in, ThreadgroupPtr<float> parts, uint index, uint lane, uint simdgroup) {
  FewSums<kRows, kOutputs> sums;
#pragma clang loop unroll(full)
  for (int r = 0; r < kRows; ++r) {
#pragma clang loop unroll(full)
    for (int o = 0; o < kOutputs; ++o) sums.of[r][o] = 0;
  }
  const Weights from_first = rows_from(w, first, in);
  // Eight rows of eight columns would take too many registers: then four columns come first, four later. The order of
  // the sums stays.
  constexpr int kFours = Weights::kFours, kAtOnce = kRows > 4 ? 1 : kFours;
  for (int thread_column = int(index) * 4 * kFours; thread_column < in; thread_column += kFewThreads * 4 * kFours) {
#pragma clang loop unroll(full)
    for (int part = 0; part < kFours; part += kAtOnce) {
      const int c = thread_column + part * 4;
      float4 values[kRows][kAtOnce];
#pragma clang loop unroll(full)
      for (int r = 0; r < kRows; ++r) {
#pragma clang loop unroll(full)
        for (int i = 0; i < kAtOnce; ++i) {
          const int from = min(r, rows - 1) * in + c + i * 4;  // rows past the end: any values, nobody reads their sums
          values[r][i] = four_bf16(*as_const<uint2>(x + from));
          if (kLow) values[r][i] = values[r][i] + four_bf16(*as_const<uint2>(x_low + from));  // exact: 16 bits
        }
      }
#pragma clang loop unroll(full)
      for (int o = 0; o < kOutputs; ++o) {
        const int row = min(o % kRun + o / kRun * 32, last - first);
        const auto weights = load_fours<kAtOnce>(from_first, row * in + c);
#pragma clang loop unroll(full)
        for (int r = 0; r < kRows; ++r) {
#pragma clang loop unroll(full)
          for (int i = 0; i < kAtOnce; ++i) sums.of[r][o] = add_four(values[r][i], weights, i, sums.of[r][o]);
        }
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
