// Terms of adapters:  t = scale · A x, then  y[r,o] += Σ_k B[o,k] · t[r,k]
//   x  [rows, in]  bf16, with x_low 16 bits of each value      A  [rank, in], B  [out, rank]  bf16      t, y  f32
//   each row has the A, B, scale and rank of its token's adapter, or none
//
// Traffic 2·rank·(in + out) bytes for each row, from L2 where rows have the same adapter. With a usual rank of 8 to 64
// the products are small, so they have no tensor cores: a warp computes one element of t, a thread one of y.
#include "kernels/cuda/low_rank.cuh"

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/warp.cuh"

namespace oss::cuda {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / kWarp;
constexpr int kVector = 8;  // bf16 values in a load of 16 bytes

// Few rows are divided among more blocks, which otherwise would leave most multiprocessors without work.
constexpr int kFewRows = 64, kBlocksOfFewRows = 8;

__device__ __forceinline__ float multiply_pair(uint32_t a, uint32_t x, uint32_t x_low, float sum) {
  sum = fmaf(low_bf16(a), low_bf16(x) + low_bf16(x_low), sum);
  return fmaf(high_bf16(a), high_bf16(x) + high_bf16(x_low), sum);
}

// A row of blocks per row of t; a warp computes every (kWarps · gridDim.y)-th element.
__global__ void __launch_bounds__(kThreads)
    low_rank_sums_kernel(LowRankRows rows, const int32_t* num_rows, LowRankInputs inputs,
                         float* t /*[rows, per_row, kMostLowRank]*/) {
  const int i = blockIdx.x;
  if (i >= *num_rows * rows.per_row) return;
  const LowRankTerm term = rows.term(i);
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp, vectors = inputs.in / kVector;
  const size_t x_from = size_t(i / inputs.rows_per_x) * inputs.stride;
  const uint4* x = reinterpret_cast<const uint4*>(inputs.x + x_from);
  const uint4* x_low = inputs.x_low != nullptr ? reinterpret_cast<const uint4*>(inputs.x_low + x_from) : nullptr;
  for (int k = blockIdx.y * kWarps + warp; k < term.rank; k += gridDim.y * kWarps) {
    const uint4* a = reinterpret_cast<const uint4*>(term.a + size_t(k) * inputs.in);
    float sum = 0;
    for (int v = lane; v < vectors; v += kWarp) {
      const uint4 of_a = a[v], high = x[v], low = x_low != nullptr ? x_low[v] : uint4{};
      sum = multiply_pair(of_a.x, high.x, low.x, sum);
      sum = multiply_pair(of_a.y, high.y, low.y, sum);
      sum = multiply_pair(of_a.z, high.z, low.z, sum);
      sum = multiply_pair(of_a.w, high.w, low.w, sum);
    }
    sum = warp_sum(sum);
    if (lane == 0) t[size_t(i) * kMostLowRank + k] = term.scale * sum;
  }
}

// One thread per element of y.
__global__ void __launch_bounds__(kThreads)
    add_low_rank_kernel(LowRankTerms terms, int out, const int32_t* num_rows, float* y /*[rows, out]*/) {
  const int row = blockIdx.x, o = blockIdx.y * kThreads + threadIdx.x;
  if (row >= *num_rows || o >= out) return;
  const LowRankTerm term = terms.rows.term(row);
  if (term.rank == 0) return;
  y[size_t(row) * out + o] += terms.row_of(term, row, o);
}

}  // namespace

Status low_rank_sums(const LowRankRows& rows, int capacity, const int32_t* num_rows, const LowRankInputs& inputs,
                     float* t, Stream stream) {
  if (inputs.in % kVector != 0 || inputs.stride % kVector != 0) return cudaErrorInvalidValue;
  const int sums = capacity * rows.per_row;
  return launch(
      low_rank_sums_kernel,
      {.grid = dim3(sums, sums <= kFewRows ? kBlocksOfFewRows : 1), .block = dim3(kThreads), .stream = stream}, rows,
      num_rows, inputs, t);
}

Status low_rank(const LowRankArgs& args, const LowRankStep& step, const int32_t* num_rows, const int32_t* token_of_row,
                const bf16* x, const bf16* x_low, float* y, Stream stream) {
  const LowRankRows rows = {
      .adapters = step.adapters, .token_of_row = token_of_row, .expert = nullptr, .number = args.number, .per_row = 1};
  const Status status =
      low_rank_sums(rows, args.rows, num_rows,
                    {.x = x, .x_low = x_low, .in = args.in, .stride = args.in, .rows_per_x = 1}, step.sums, stream);
  if (status != cudaSuccess) return status;
  return launch(add_low_rank_kernel,
                {.grid = dim3(args.rows, divide_up(args.out, kThreads)), .block = dim3(kThreads), .stream = stream},
                LowRankTerms{rows, step.sums}, args.out, num_rows, y);
}

}  // namespace oss::cuda
