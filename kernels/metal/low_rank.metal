// Terms of adapters:  t = scale · A x, then  y[r,o] += Σ_k B[o,k] · t[r,k]
//   x  [rows, in]  bf16, with x_low 16 bits of each value      A  [rank, in], B  [out, rank]  bf16      t, y  f32
//   rows: those of one adapter, whose factors are in one buffer      t  [listed rows, per_row, kMostLowRank]
//
// Traffic 2·rank·(in + out) bytes for each row, from a cache where rows have the same adapter. With a usual rank of 8 to
// 64 the products are small, so they have no matrices of simdgroups: a simdgroup computes one element of t, a thread one
// of y. Sums have an order that depends only on the shape of the term. So a row has the same bits alone and beside
// others.
#include "kernels/metal/low_rank.h"

#include "kernels/common/dtype.h"
#include "kernels/metal/lang.h"

using namespace oss;

static inline float multiply_pair(uint a, uint x, uint x_low, float sum) {
  const uint high = 0xFFFF0000u;
  sum = fma(as_type<float>(a << 16), as_type<float>(x << 16) + as_type<float>(x_low << 16), sum);
  return fma(as_type<float>(a & high), as_type<float>(x & high) + as_type<float>(x_low & high), sum);
}

// The term of a listed row's product m.
static inline LowRankTerm term_of(DevicePtr<const LowRankTerm> terms, DevicePtr<const int> chosen, int has_chosen,
                                  int row, int per_row, int m) {
  return terms[has_chosen != 0 ? chosen[ulong(row) * ulong(per_row) + ulong(m)] : m];
}

// B[output] · t
static inline float output_of(LowRankTerm term, DevicePtr<const ushort> factors, DevicePtr<const float> t, int output) {
  DevicePtr<const ushort> b = factors + (term.b + ulong(output) * ulong(term.rank));
  float sum = 0;
  for (int k = 0; k < term.rank; ++k) sum = fma(t[k], bf16_to_f32(b[k]), sum);
  return sum;
}

// Threadgroups: x = products, y = parts of the rank. A simdgroup computes every n-th element of t.
kernel void low_rank_sums(constant LowRankSumsLaunch& args [[buffer(0)]],
                          DevicePtr<const LowRankTerm> terms [[buffer(1)]],
                          DevicePtr<const ushort> factors [[buffer(2)]], DevicePtr<const int> rows [[buffer(3)]],
                          DevicePtr<const int> chosen [[buffer(4)]], DevicePtr<const uint4> x [[buffer(5)]],
                          DevicePtr<const uint4> x_low [[buffer(6)]], DevicePtr<float> t [[buffer(7)]], OSS_POSITION) {
  const int product = int(group.x), m = product % args.per_row, row = rows[product / args.per_row] - args.base;
  const LowRankTerm term = term_of(terms, chosen, args.chosen, row, args.per_row, m);
  const int vectors = args.in / kLowRankVector;
  const ulong from = (args.x_each != 0 ? ulong(row) * ulong(args.per_row) + ulong(m) : ulong(row)) * ulong(vectors);
  for (int k = int(group.y) * kLowRankSimdgroups + int(simdgroup); k < term.rank;
       k += args.parts * kLowRankSimdgroups) {
    const DevicePtr<const uint4> a = as_const<uint4>(factors + (term.a + ulong(k) * ulong(args.in)));
    float sum = 0;
    for (int v = int(lane); v < vectors; v += 32) {
      const uint4 of_a = a[v], high = x[from + v];
      uint4 low = uint4(0);
      if (args.has_low != 0) low = x_low[from + v];
      sum = multiply_pair(of_a.x, high.x, low.x, sum);
      sum = multiply_pair(of_a.y, high.y, low.y, sum);
      sum = multiply_pair(of_a.z, high.z, low.z, sum);
      sum = multiply_pair(of_a.w, high.w, low.w, sum);
    }
    sum = simd_sum(sum);
    if (lane == 0) t[ulong(product) * kMostLowRank + ulong(k)] = term.scale * sum;
  }
}
OSS_KERNEL(low_rank_sums)

// For kernels that add the terms to their products: terms [listed rows, all outputs of a row]. Where there is no term it
// is -0, the only number that changes no sum. Threadgroups: x = products, y = outputs.
kernel void low_rank_terms(constant LowRankTermsLaunch& args [[buffer(0)]],
                           DevicePtr<const LowRankTerm> terms [[buffer(1)]],
                           DevicePtr<const ushort> factors [[buffer(2)]], DevicePtr<const int> rows [[buffer(3)]],
                           DevicePtr<const int> chosen [[buffer(4)]], DevicePtr<const float> t [[buffer(5)]],
                           DevicePtr<float> y [[buffer(6)]], OSS_POSITION) {
  const int product = int(group.x), m = product % args.per_row, listed = product / args.per_row;
  const int output = int(group.y) * kLowRankThreads + int(index);
  if (output >= (m == 0 ? args.out_first : args.out_rest)) return;
  const LowRankTerm term = term_of(terms, chosen, args.chosen, rows[listed] - args.base, args.per_row, m);
  const int begin = m == 0 ? 0 : args.out_first + (m - 1) * args.out_rest;
  const int width = args.out_first + (args.per_row - 1) * args.out_rest;
  y[ulong(listed) * ulong(width) + ulong(begin + output)] =
      term.rank == 0 ? -0.0f : output_of(term, factors, t + ulong(product) * kMostLowRank, output);
}
OSS_KERNEL(low_rank_terms)

// y[r,o] += the terms of its products, by their weights. Threadgroups: x = listed rows, y = outputs.
kernel void low_rank_add(constant LowRankAddLaunch& args [[buffer(0)]],
                         DevicePtr<const LowRankTerm> terms [[buffer(1)]],
                         DevicePtr<const ushort> factors [[buffer(2)]], DevicePtr<const int> rows [[buffer(3)]],
                         DevicePtr<const int> chosen [[buffer(4)]], DevicePtr<const float> weight [[buffer(5)]],
                         DevicePtr<const float> t [[buffer(6)]], DevicePtr<float> y [[buffer(7)]], OSS_POSITION) {
  const int listed = int(group.x), row = rows[listed] - args.base;
  const int output = int(group.y) * kLowRankThreads + int(index);
  if (output >= args.out) return;
  float total = -0.0f;
  for (int m = 0; m < args.per_row; ++m) {
    const LowRankTerm term = term_of(terms, chosen, args.chosen, row, args.per_row, m);
    if (term.rank == 0) continue;
    const ulong product = ulong(listed) * ulong(args.per_row) + ulong(m);
    const float of_product = output_of(term, factors, t + product * kMostLowRank, output);
    total = args.weighted != 0 ? fma(weight[ulong(row) * ulong(args.per_row) + ulong(m)], of_product, total)
                               : total + of_product;
  }
  y[ulong(rows[listed] - args.first_row) * ulong(args.out) + ulong(output)] += total;
}
OSS_KERNEL(low_rank_add)
