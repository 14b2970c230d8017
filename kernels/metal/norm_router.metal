// Norm, router and choice of a few tokens in one dispatch, with the bits of rms_norm, linear_rows_1_low and router:
//   normed[t] = rms_norm(x[t], norm)      logits = normed[t] (with its rounding error) · w[e] + bias[e]
//   index, weight  [tokens, top_k]: as in router.metal
//   x  [tokens, hidden]  f32      norm  [hidden]  f32      w  [experts, hidden]  bf16, aligned to 8 bytes
//   bias  [experts]  f32      normed  [tokens, hidden]  bf16      hidden % 4 == 0, hidden <= 4096, experts <= 256
//
// Traffic 2·experts·hidden bytes: 184 KB for the 20b, 737 KB for the 120b. One threadgroup per token reads them. That is
// slower than with the whole GPU, but saves two dispatches and their barriers in each layer.
#include "kernels/metal/norm_router.h"

#include "kernels/common/dtype.h"
#include "kernels/metal/choice.h"
#include "kernels/metal/dense.h"
#include "kernels/metal/few_rows.h"
#include "kernels/metal/lang.h"
#include "kernels/metal/rms_norm.h"

using namespace oss;

kernel void norm_router(constant NormRouterLaunch& args [[buffer(0)]], DevicePtr<const float> x [[buffer(1)]],
                        DevicePtr<const float> norm [[buffer(2)]], DevicePtr<const ushort> w [[buffer(3)]],
                        DevicePtr<const float> bias [[buffer(4)]], DevicePtr<ushort> normed [[buffer(5)]],
                        DevicePtr<int> chosen [[buffer(6)]], DevicePtr<float> weight [[buffer(7)]], OSS_POSITION) {
  OSS_THREADGROUP(float, values, kNormRouterColumns);
  OSS_THREADGROUP(float, squares, kRmsNormThreads / 32);
  OSS_THREADGROUP(float, parts, kRouterMaxExperts * (kFewThreads / 32));
  const ulong row = ulong(group.x) * ulong(args.hidden);

  // The sum of squares, by as many threads and in the order of rms_norm.
  if (int(index) < kRmsNormThreads) {
    float sum = 0;
    for (int c = int(index) * 4; c < args.hidden; c += kRmsNormThreads * 4) {
      const float4 v = *as_const<float4>(x + row + c);
      sum += dot(v, v);
    }
    sum = simd_sum(sum);
    if (lane == 0) squares[simdgroup] = sum;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  const float all = simd_sum(int(lane) < kRmsNormThreads / 32 ? squares[lane] : 0.0f);
  const float factor = 1.0f / precise::sqrt(all / float(args.hidden) + args.eps);
  for (int c = int(index); c < args.hidden; c += kNormRouterThreads) {
    const float value = x[row + c] * factor * norm[c];
    const ushort high = f32_to_bf16(value);
    normed[row + c] = high;
    values[c] = bf16_to_f32(high) + bf16_to_f32(f32_to_bf16(value - bf16_to_f32(high)));
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);

  // Four simdgroups share an expert, in the order of few_rows().
  const int quarter = int(simdgroup) % (kFewThreads / 32), place = quarter * 32 + int(lane);
  for (int e = int(simdgroup) / (kFewThreads / 32); e < args.experts; e += kNormRouterThreads / kFewThreads) {
    const DevicePtr<const ushort> of = w + ulong(e) * ulong(args.hidden);
    float sum = 0;
    for (int c = place * 4; c < args.hidden; c += kFewThreads * 4) {
      const float4 weights = four_bf16(*as_const<uint2>(of + c));
      sum = fma(values[c], weights.x, sum);
      sum = fma(values[c + 1], weights.y, sum);
      sum = fma(values[c + 2], weights.z, sum);
      sum = fma(values[c + 3], weights.w, sum);
    }
    sum = simd_sum(sum);
    if (lane == 0) parts[e * (kFewThreads / 32) + quarter] = sum;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (simdgroup != 0) return;

  ExpertRanks ranks;
  for (int i = 0; i < kRouterPerLane; ++i) {
    const int expert = i * 32 + int(lane);
    ranks.of[i] = 0;
    if (expert < args.experts) {
      float logit = 0;
      for (int part = 0; part < kFewThreads / 32; ++part) logit += parts[expert * (kFewThreads / 32) + part];
      ranks.of[i] = rank_of(logit + bias[expert]);
    }
  }
  const ExpertChoice choice = choose_experts(ranks, args.top_k, lane);
  if (int(lane) >= args.top_k) return;
  const ulong at = ulong(group.x) * ulong(args.top_k) + lane;
  chosen[at] = choice.expert;
  weight[at] = choice.weight;
}
OSS_KERNEL(norm_router)
