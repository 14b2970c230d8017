// The peak rates of this GPU, beside which operations are shown. No step runs these kernels.
//
//   read_memory   every byte of a buffer read once and summed up, like weights in a decode step
//   multiply      mma.sync m16n8k16 (bf16 -> float32) or fma.rn.f32, with all values in registers
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/ptx/mma.cuh"
#include "kernels/cuda/warp.cuh"

namespace oss::cuda {
namespace {

constexpr int kThreads = kReadWarps * kWarp;
constexpr int kLoads = kReadBlockBytes / kThreads / 16;  // 16-byte loads in flight per thread
static_assert(kLoads * kThreads * 16 == kReadBlockBytes);

// One block for each kReadBlockBytes. The sums keep the compiler from leaving the reads out.
__global__ void __launch_bounds__(kThreads)
    read_memory_kernel(const uint4* from, uint32_t* sums /*[blocks, kReadWarps]*/) {
  const uint4* first = from + size_t(blockIdx.x) * (kReadBlockBytes / 16) + threadIdx.x;
  uint4 v[kLoads];
#pragma unroll
  for (int i = 0; i < kLoads; ++i) v[i] = __ldcs(first + i * kThreads);
  uint32_t sum = 0;
#pragma unroll
  for (int i = 0; i < kLoads; ++i) sum += v[i].x + v[i].y + v[i].z + v[i].w;
  sum = warp_sum(sum);
  if (threadIdx.x % kWarp == 0) sums[blockIdx.x * kReadWarps + threadIdx.x / kWarp] = sum;
}

constexpr int kBlocksPerMultiprocessor = 4, kBlockThreads = kMultiplyThreads / kBlocksPerMultiprocessor;
constexpr int kChains = 8;  // independent sums: enough to hide each other's latency

// out [threads]: the sum of the thread's results.
__global__ void __launch_bounds__(kBlockThreads) mma_kernel(int rounds, uint32_t two_values, float* out) {
  float sums[kChains][4] = {};
  const uint32_t a[4] = {two_values, two_values, two_values, two_values}, b[2] = {two_values, two_values};
  for (int round = 0; round < rounds; ++round) {
#pragma unroll
    for (int chain = 0; chain < kChains; ++chain) mma_m16n8k16(sums[chain], a, b);
  }
  float all = 0;
#pragma unroll
  for (int chain = 0; chain < kChains; ++chain)
    all += (sums[chain][0] + sums[chain][1]) + (sums[chain][2] + sums[chain][3]);
  out[blockIdx.x * kBlockThreads + threadIdx.x] = all;
}

__global__ void __launch_bounds__(kBlockThreads) fma_kernel(int rounds, float value, float* out) {
  float sums[kChains] = {};
  for (int round = 0; round < rounds; ++round) {
#pragma unroll
    for (int chain = 0; chain < kChains; ++chain) sums[chain] = fmaf(value, value, sums[chain]);
  }
  float all = 0;
#pragma unroll
  for (int chain = 0; chain < kChains; ++chain) all += sums[chain];
  out[blockIdx.x * kBlockThreads + threadIdx.x] = all;
}

}  // namespace

Status read_memory(size_t bytes, const void* from, uint32_t* sums, Stream stream) {
  if (bytes % kReadBlockBytes != 0) return cudaErrorInvalidValue;
  return launch(read_memory_kernel,
                {.grid = dim3(unsigned(bytes / kReadBlockBytes)), .block = dim3(kThreads), .stream = stream},
                static_cast<const uint4*>(from), sums);
}

Status multiply(const MultiplyArgs& args, float* out, double* flops, Stream stream) {
  const int blocks = resources().multiprocessors * kBlocksPerMultiprocessor;
  const Launch how = {.grid = dim3(unsigned(blocks)), .block = dim3(kBlockThreads), .stream = stream};
  const double chains = double(blocks) * kBlockThreads * kChains * args.rounds;
  if (args.on_bf16_unit != 0) {
    constexpr uint32_t kTwoOnes = 0x3F803F80;
    *flops = chains / kWarp * (2.0 * 16 * 8 * 16);
    return launch(mma_kernel, how, args.rounds, kTwoOnes, out);
  }
  *flops = chains * 2;
  return launch(fma_kernel, how, args.rounds, 1.0f, out);
}

}  // namespace oss::cuda
