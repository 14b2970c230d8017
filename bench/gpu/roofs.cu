// The peak rates of this GPU, measured with plain loops: the denominators of every share in a result file.
//
//   oss_gpu_roofs [MEGABYTES]      prints one JSON object; each number is the best of 15
//
//   readBytesPerSecond    every byte of a buffer read once, summed up and dropped, like weights in a decode step
//   copyBytesPerSecond    read and written bytes of a copy
//   mmaFlopsPerSecond     mma.sync.m16n8k16 bf16 -> f32 from registers
//   launchMicroseconds    between two kernels that do nothing, in a recorded graph
#include <cstdio>
#include <cstdlib>

#include "bench/gpu/timing.cuh"
#include "kernels/cuda/ptx/mma.cuh"

namespace {

constexpr int kThreads = 512;
constexpr int kLoads = 8;  // 16-byte loads in flight per thread

__global__ void read_kernel(const uint4* from, size_t count, unsigned* sum) {
  const size_t stride = size_t(gridDim.x) * kThreads;
  unsigned all = 0;
  for (size_t i = size_t(blockIdx.x) * kThreads + threadIdx.x; i < count; i += kLoads * stride) {
    uint4 v[kLoads];
#pragma unroll
    for (int j = 0; j < kLoads; ++j) v[j] = __ldcs(from + i + j * stride);
#pragma unroll
    for (int j = 0; j < kLoads; ++j) all ^= v[j].x ^ v[j].y ^ v[j].z ^ v[j].w;
  }
  if (all == 0x9E3779B9u) *sum = all;  // never true, but the compiler cannot know
}

__global__ void copy_kernel(const uint4* from, uint4* to, size_t count) {
  const size_t stride = size_t(gridDim.x) * kThreads;
  for (size_t i = size_t(blockIdx.x) * kThreads + threadIdx.x; i < count; i += stride) to[i] = __ldcs(from + i);
}

constexpr int kChains = 8, kRounds = 4096;  // independent sums per warp: enough to hide each other's latency
__global__ void mma_kernel(float* out) {
  float sums[kChains][4] = {};
  const uint32_t seed = threadIdx.x * 0x3F803F80u;
  const uint32_t a[4] = {seed, seed + 1, seed + 2, seed + 3};
  const uint32_t b[2] = {seed + 4, seed + 5};
  for (int round = 0; round < kRounds; ++round) {
#pragma unroll
    for (int chain = 0; chain < kChains; ++chain) oss::cuda::mma_m16n8k16(sums[chain], a, b);
  }
  float all = 0;
#pragma unroll
  for (int chain = 0; chain < kChains; ++chain)
    all += sums[chain][0] + sums[chain][1] + sums[chain][2] + sums[chain][3];
  if (all == 12345.0f) *out = all;
}

__global__ void nothing_kernel() {}

}  // namespace

int main(int argc, char** argv) {
  cudaDeviceProp device{};
  check(cudaGetDeviceProperties(&device, 0), "no GPU");
  const int blocks = device.multiProcessorCount * (device.maxThreadsPerMultiProcessor / kThreads);
  const size_t round = size_t(blocks) * kThreads * kLoads * sizeof(uint4);
  const size_t bytes = (size_t(argc > 1 ? std::atoi(argv[1]) : 4096) << 20) / round * round;  // no remainder to read
  const size_t count = bytes / sizeof(uint4);
  cudaStream_t stream;
  check(cudaStreamCreate(&stream), "stream");
  uint4 *from, *to;
  check(cudaMalloc(&from, bytes), "memory");
  check(cudaMalloc(&to, bytes), "memory");
  check(cudaMemset(from, 0x5A, bytes), "memory");
  check(cudaMemset(to, 0, bytes), "memory");

  const double read = seconds(
      [&](cudaStream_t s) { read_kernel<<<blocks, kThreads, 0, s>>>(from, count, reinterpret_cast<unsigned*>(to)); },
      stream);
  const double copy =
      seconds([&](cudaStream_t s) { copy_kernel<<<blocks, kThreads, 0, s>>>(from, to, count); }, stream);
  const double mma = seconds(
      [&](cudaStream_t s) {
        mma_kernel<<<device.multiProcessorCount * 2, kThreads, 0, s>>>(reinterpret_cast<float*>(to));
      },
      stream);

  constexpr int kNodes = 500;
  const auto launches = [](cudaStream_t s) {
    for (int i = 0; i < kNodes; ++i) nothing_kernel<<<1, 32, 0, s>>>();
  };
  const double launch = replay_seconds(launches, stream);
  check(cudaDeviceSynchronize(), "end");

  const double mma_flops =
      double(device.multiProcessorCount) * 2 * (kThreads / 32) * kChains * kRounds * (2.0 * 16 * 8 * 16);
  std::printf(
      "{\"readBytesPerSecond\":%.4g,\"copyBytesPerSecond\":%.4g,\"mmaFlopsPerSecond\":%.4g,\"launchMicroseconds\":%.4g}"
      "\n",
      double(bytes) / read, 2.0 * double(bytes) / copy, mma_flops / mma, launch * 1e6 / kNodes);
}
