// The experts of one layer, for few tokens. For each pair p = (t, k) of a token and its k-th expert e = chosen[t,k]:
//   gate[i] = W1[2i]·normed[t] + b1[2i]    up[i] = W1[2i+1]·normed[t] + b1[2i+1]    act[p,i] = swiglu(gate[i], up[i])
//   x[t,r] += Σ_k weight[t,k] · (W2[r]·act[p] + b2[r]), in the order of k
//   W1  [experts, 2·intermediate, hidden], W2  [experts, hidden, intermediate]: MXFP4 as in the checkpoint
//   normed  [tokens, hidden], act  [pairs, intermediate]  bf16      b1, b2, weight, x and all sums  float32
//
// Traffic: 17 bytes per 32 weights, for each chosen expert: 13.2 MB in either model, 53 MB for one token. At 400 GB/s
// that is 132 µs. Threadgroups of all pairs have the same rows at the same time. So pairs of one expert find its
// weights in a cache. A lane loads 8 bytes of each of its rows at once. Its rows share what it reads of activations.
//
// experts_gate_up_terms adds the terms of adapters before the SwiGLU; those of down follow later (low_rank.metal).
//
// A sum has an order that depends only on the length of the row: a lane's products, block by block, then all lanes.
#include "kernels/common/dtype.h"
#include "kernels/metal/experts.h"
#include "kernels/metal/lang.h"
#include "kernels/metal/low_rank_terms.h"
#include "kernels/metal/mxfp4.h"
#include "kernels/metal/swiglu.h"

using namespace oss;

template <int kRows>
struct RowSums {
  float row[kRows];
};

// The products of consecutive rows from `first` on with one vector, by one simdgroup; every lane gets them. A unit is
// half a block: 16 values.
template <int kRows>
static inline RowSums<kRows> multiply_rows(DevicePtr<const uint2> blocks, DevicePtr<const uchar> scales, ulong first,
                                           int cols, DevicePtr<const uint4> x, uint lane) {
  const int units = cols / 16;
  DevicePtr<const uint2> codes = blocks + first * ulong(units);
  DevicePtr<const uchar> scale = scales + first * ulong(units / 2);
  RowSums<kRows> sums;
  for (int r = 0; r < kRows; ++r) sums.row[r] = 0;
  for (int u = int(lane); u < units; u += 32) {
    const uint4 low = x[2 * u], high = x[2 * u + 1];
    uint2 words[kRows];
    for (int r = 0; r < kRows; ++r) words[r] = codes[r * units + u];
    for (int r = 0; r < kRows; ++r) {
      const float sum = mxfp4_dot(words[r].y, high, mxfp4_dot(words[r].x, low, 0));
      sums.row[r] = fma(sum * kMxDoubledCode, e8m0_half(scale[r * (units / 2) + u / 2]), sums.row[r]);
    }
  }
  for (int r = 0; r < kRows; ++r) sums.row[r] = simd_sum(sums.row[r]);
  return sums;
}

template <typename Terms>
static inline void multiply_gate_up(constant FewExpertsLaunch& args, DevicePtr<const uint2> blocks,
                                    DevicePtr<const uchar> scales, DevicePtr<const float> bias,
                                    DevicePtr<const int> chosen, DevicePtr<const uint4> normed, Terms terms,
                                    DevicePtr<ushort> act, uint3 group, uint lane, uint simdgroup) {
  const int pair = int(group.x), unit = (int(group.y) * kFewSimdgroups + int(simdgroup)) * kFewUnits;
  if (unit >= args.intermediate) return;
  const ulong row = (ulong(chosen[pair]) * ulong(args.intermediate) + unit) * 2;
  const RowSums<2 * kFewUnits> sums = multiply_rows<2 * kFewUnits>(
      blocks, scales, row, args.hidden, normed + ulong(pair / args.top_k) * ulong(args.hidden / 8), lane);
  if (lane != 0) return;
  for (int i = 0; i < kFewUnits; ++i) {
    const int output = 2 * (unit + i);
    const float gate = terms.add(sums.row[2 * i] + bias[row + 2 * i], pair, output);
    const float up = terms.add(sums.row[2 * i + 1] + bias[row + 2 * i + 1], pair, output + 1);
    act[ulong(pair) * ulong(args.intermediate) + unit + i] =
        f32_to_bf16(clamped_swiglu(gate, up, args.alpha, args.limit));
  }
}

// Threadgroups: x = pairs, y = units of the activation.
kernel void experts_gate_up(constant FewExpertsLaunch& args [[buffer(0)]], DevicePtr<const uint2> blocks [[buffer(1)]],
                            DevicePtr<const uchar> scales [[buffer(2)]], DevicePtr<const float> bias [[buffer(3)]],
                            DevicePtr<const int> chosen [[buffer(4)]], DevicePtr<const uint4> normed [[buffer(5)]],
                            DevicePtr<ushort> act [[buffer(6)]], OSS_POSITION) {
  const NoTerms terms = {};
  multiply_gate_up(args, blocks, scales, bias, chosen, normed, terms, act, group, lane, simdgroup);
}
OSS_KERNEL(experts_gate_up)

// With the terms of adapters.
kernel void experts_gate_up_terms(constant FewExpertsLaunch& args [[buffer(0)]],
                                  DevicePtr<const uint2> blocks [[buffer(1)]],
                                  DevicePtr<const uchar> scales [[buffer(2)]],
                                  DevicePtr<const float> bias [[buffer(3)]], DevicePtr<const int> chosen [[buffer(4)]],
                                  DevicePtr<const uint4> normed [[buffer(5)]], DevicePtr<ushort> act [[buffer(6)]],
                                  DevicePtr<const int> place [[buffer(7)]],
                                  DevicePtr<const float> of_adapters [[buffer(8)]], OSS_POSITION) {
  const AdapterTerms terms = {place, of_adapters, args.top_k, 2 * args.intermediate};
  multiply_gate_up(args, blocks, scales, bias, chosen, normed, terms, act, group, lane, simdgroup);
}
OSS_KERNEL(experts_gate_up_terms)

// Threadgroups: x = tokens, y = rows of down. A simdgroup has its rows for all experts of the token.
kernel void experts_down(constant FewExpertsLaunch& args [[buffer(0)]], DevicePtr<const uint2> blocks [[buffer(1)]],
                         DevicePtr<const uchar> scales [[buffer(2)]], DevicePtr<const float> bias [[buffer(3)]],
                         DevicePtr<const int> chosen [[buffer(4)]], DevicePtr<const float> weight [[buffer(5)]],
                         DevicePtr<const uint4> act [[buffer(6)]], DevicePtr<float> x [[buffer(7)]], OSS_POSITION) {
  const int token = int(group.x), first = (int(group.y) * kFewSimdgroups + int(simdgroup)) * kFewUnits;
  if (first >= args.hidden) return;
  float totals[kFewUnits];
  for (int r = 0; r < kFewUnits; ++r) totals[r] = 0;
  for (int k = 0; k < args.top_k; ++k) {
    const ulong pair = ulong(token) * ulong(args.top_k) + k;
    const ulong row = ulong(chosen[pair]) * ulong(args.hidden) + first;
    const RowSums<kFewUnits> sums = multiply_rows<kFewUnits>(blocks, scales, row, args.intermediate,
                                                             act + pair * ulong(args.intermediate / 8), lane);
    for (int r = 0; r < kFewUnits; ++r) totals[r] = fma(weight[pair], sums.row[r] + bias[row + r], totals[r]);
  }
  if (lane != 0) return;
  for (int r = 0; r < kFewUnits; ++r) x[ulong(token) * ulong(args.hidden) + first + r] += totals[r];
}
OSS_KERNEL(experts_down)
