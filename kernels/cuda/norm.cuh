// The arithmetic of rms_norm for every kernel that computes it: bit for bit the same.
//
// A row is read in vectors of four, adjacent vectors in adjacent lanes. A warp sums each group of 32 vectors, and again
// the sums of up to 32 groups. That order depends only on the row's length.
#pragma once
#include "kernels/cuda/ptx/convert.cuh"
#include "kernels/cuda/warp.cuh"

namespace oss::cuda {

constexpr int kNormVector = 4;
constexpr int kNormGroup = kNormVector * kWarp;  // columns
constexpr int kMostNormGroups = kWarp;

__device__ __forceinline__ float group_sum_of_squares(const float4& v) {
  return warp_sum(fmaf(v.w, v.w, fmaf(v.z, v.z, fmaf(v.y, v.y, v.x * v.x))));
}

// `sums` of `groups` groups; all lanes of a warp call and get the factor of the row.
__device__ __forceinline__ float norm_factor(const float* sums, int groups, int hidden, float eps) {
  const int lane = threadIdx.x % kWarp;
  return 1.0f / sqrtf(warp_sum(lane < groups ? sums[lane] : 0.0f) / float(hidden) + eps);
}

// Four values as bf16, and their rounding errors, rounded too.
struct NormedVector {
  uint2 high, low;
};
__device__ __forceinline__ NormedVector normed(const float4& v, float factor, const float4& w) {
  const float4 out = {v.x * factor * w.x, v.y * factor * w.y, v.z * factor * w.z, v.w * factor * w.w};
  const uint2 high = {pack_bf16x2(out.x, out.y), pack_bf16x2(out.z, out.w)};
  // Written so that it rounds: if the difference were fused with the product before it, kernels would not agree.
  return {high,
          {pack_bf16x2(__fsub_rn(out.x, low_bf16(high.x)), __fsub_rn(out.y, high_bf16(high.x))),
           pack_bf16x2(__fsub_rn(out.z, low_bf16(high.y)), __fsub_rn(out.w, high_bf16(high.y)))}};
}

}  // namespace oss::cuda
