// RMSNorm:  y[t,c] = x[t,c] · w[c] / sqrt(mean_c(x[t,c]²) + ε)
//   x  [rows, hidden]  f32      w  [hidden]  f32      y  [rows, hidden]  bf16      hidden % 4 == 0
// y_low: the rounding error of y, rounded too; written when args.precise is set. Together they are within 2^-16 of the
// float32 value. Sums are float32, in an order that depends only on hidden.
//
// Traffic 6·rows·hidden bytes: one row has 17 KB, so the cost is a dispatch and two trips to memory.
#include "kernels/common/dtype.h"
#include "kernels/metal/lang.h"
#include "kernels/metal/rms_norm.h"

using namespace oss;

// One threadgroup per row.
kernel void rms_norm(constant RmsNormLaunch& args [[buffer(0)]], DevicePtr<const float> x [[buffer(1)]],
                     DevicePtr<const float> w [[buffer(2)]], DevicePtr<ushort> y [[buffer(3)]],
                     DevicePtr<ushort> y_low [[buffer(4)]], OSS_POSITION) {
  OSS_THREADGROUP(float, parts, kRmsNormThreads / 32);
  const ulong row = ulong(group.x) * ulong(args.hidden);
  float sum = 0;
  for (int c = int(index) * 4; c < args.hidden; c += kRmsNormThreads * 4) {
    const float4 v = *as_const<float4>(x + row + c);
    sum += dot(v, v);
  }
  sum = simd_sum(sum);
  if (lane == 0) parts[simdgroup] = sum;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  sum = simd_sum(int(lane) < kRmsNormThreads / 32 ? parts[lane] : 0.0f);
  const float factor = 1.0f / precise::sqrt(sum / float(args.hidden) + args.eps);
  for (int c = int(index); c < args.hidden; c += kRmsNormThreads) {
    const float value = x[row + c] * factor * w[c];
    const ushort high = f32_to_bf16(value);
    y[row + c] = high;
    if (args.precise != 0) y_low[row + c] = f32_to_bf16(value - bf16_to_f32(high));
  }
}
OSS_KERNEL(rms_norm)
