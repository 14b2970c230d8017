// RMSNorm:  y[t,c] = x[t,c] · w[c] / sqrt(mean_c(x[t,c]²) + ε)
//   x  [rows, hidden]  f32      w  [hidden]  f32      y  [rows, hidden]  bf16
//   four values per thread, held in registers: a row is read once; sums in float32, in an order of hidden alone
//
// Traffic 6·rows·hidden bytes. One row is 17 KB: a launch, two trips to L2 and a barrier are the cost.
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/ptx/convert.cuh"
#include "kernels/cuda/ptx/shared.cuh"
#include "kernels/cuda/warp.cuh"

namespace oss::cuda {
namespace {

constexpr int kPerThread = 4;
constexpr int kMaxThreads = 1024;

// One block per row.
__global__ void __launch_bounds__(kMaxThreads)
    rms_norm_kernel(RmsNormArgs args, const int32_t* num_rows, const float* x /*[rows, hidden]*/,
                    const float* w /*[hidden]*/, bf16* y /*[rows, hidden]*/,
                    bf16* y_low /*[rows, hidden] or null*/) {
  const int row = blockIdx.x, column = threadIdx.x * kPerThread;
  if (row >= *num_rows) return;
  const size_t at = size_t(row) * args.hidden + column;
  float4 values{}, weights{};
  if (column < args.hidden) {
    values = *reinterpret_cast<const float4*>(x + at);
    weights = *reinterpret_cast<const float4*>(w + column);
  }

  float* warp_sums = dynamic_shared<float>();  // [warps of the block]
  const float mine = fmaf(values.w, values.w, fmaf(values.z, values.z, fmaf(values.y, values.y, values.x * values.x)));
  const float of_warp = warp_sum(mine);
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp, warps = blockDim.x / kWarp;
  if (lane == 0) warp_sums[warp] = of_warp;
  __syncthreads();
  const float sum = warp_sum(lane < warps ? warp_sums[lane] : 0.0f);

  if (column >= args.hidden) return;
  const float scale = 1.0f / sqrtf(sum / float(args.hidden) + args.eps);
  const float4 out = {values.x * scale * weights.x, values.y * scale * weights.y, values.z * scale * weights.z,
                      values.w * scale * weights.w};
  const uint2 high = {pack_bf16x2(out.x, out.y), pack_bf16x2(out.z, out.w)};
  *reinterpret_cast<uint2*>(y + at) = high;
  if (y_low == nullptr) return;
  *reinterpret_cast<uint2*>(y_low + at) = {pack_bf16x2(out.x - low_bf16(high.x), out.y - high_bf16(high.x)),
                                           pack_bf16x2(out.z - low_bf16(high.y), out.w - high_bf16(high.y))};
}

}  // namespace

Status rms_norm(const RmsNormArgs& args, const int32_t* num_rows, const float* x, const float* w, bf16* y,
                bf16* y_low, Stream stream) {
  if (args.hidden % kPerThread != 0 || args.hidden > kPerThread * kMaxThreads) return cudaErrorInvalidValue;
  const int warps = divide_up(args.hidden, kPerThread * kWarp);
  return launch(
      rms_norm_kernel,
      {.grid = dim3(args.rows), .block = dim3(warps * kWarp), .shared = warps * sizeof(float), .stream = stream}, args,
      num_rows, x, w, y, y_low);
}

}  // namespace oss::cuda
