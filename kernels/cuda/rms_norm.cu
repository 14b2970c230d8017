// RMSNorm:  y[t,c] = x[t,c] · w[c] / sqrt(mean_c(x[t,c]²) + ε)
//   x  [rows, hidden]  f32      w  [hidden]  f32      y  [rows, hidden]  bf16
// four values per thread, held in registers: a row is read once; sums in float32, in an order that depends only on
// hidden
//
// Traffic 6·rows·hidden bytes. One row has 17 KB: the cost is a launch, two round trips to L2 and a barrier.
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/norm.cuh"
#include "kernels/cuda/ptx/shared.cuh"

namespace oss::cuda {
namespace {

constexpr int kMaxThreads = kMostNormGroups * kWarp;

// One block per row, one warp per group.
__global__ void __launch_bounds__(kMaxThreads)
    rms_norm_kernel(RmsNormArgs args, const int32_t* num_rows, const float* x /*[rows, hidden]*/,
                    const float* w /*[hidden]*/, bf16* y /*[rows, hidden]*/, bf16* y_low /*[rows, hidden] or null*/) {
  const int row = blockIdx.x, column = threadIdx.x * kNormVector;
  if (row >= *num_rows) return;
  const size_t at = size_t(row) * args.hidden + column;
  float4 values{}, weights{};
  if (column < args.hidden) {
    values = *reinterpret_cast<const float4*>(x + at);
    weights = *reinterpret_cast<const float4*>(w + column);
  }

  float* sums = dynamic_shared<float>();  // [warps of the block]
  const float of_warp = group_sum_of_squares(values);
  if (threadIdx.x % kWarp == 0) sums[threadIdx.x / kWarp] = of_warp;
  __syncthreads();
  const float factor = norm_factor(sums, blockDim.x / kWarp, args.hidden, args.eps);
  if (column >= args.hidden) return;
  const NormedVector out = normed(values, factor, weights);
  *reinterpret_cast<uint2*>(y + at) = out.high;
  if (y_low != nullptr) *reinterpret_cast<uint2*>(y_low + at) = out.low;
}

}  // namespace

Status rms_norm(const RmsNormArgs& args, const int32_t* num_rows, const float* x, const float* w, bf16* y, bf16* y_low,
                Stream stream) {
  if (args.hidden % kNormVector != 0 || args.hidden > kMostNormGroups * kNormGroup) return cudaErrorInvalidValue;
  const int warps = divide_up(args.hidden, kNormGroup);
  return launch(
      rms_norm_kernel,
      {.grid = dim3(args.rows), .block = dim3(warps * kWarp), .shared = warps * sizeof(float), .stream = stream}, args,
      num_rows, x, w, y, y_low);
}

}  // namespace oss::cuda
