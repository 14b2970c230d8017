// The lower bound of a decode step on this GPU: only reading its weights, and the gaps between its kernels.
//
//   oss_gpu_floor [20b,120b] [1,2,4,8,16]      one JSON object per line; a time is the least of 15
//
//   stream      reads the weights of one decode step once and drops them, from one recorded graph. They have the order of
//               the phases and their packed sizes. `edges`: "none" = one kernel for all; "full" = a kernel per phase,
//               which begins when the previous one has ended; "dependent" = a kernel per phase, which begins earlier and
//               waits with its first loads in flight
//   barrier     all blocks of a kernel wait for each other
//   node        one more empty kernel in a recorded graph, by the number of its blocks and the kind of edge
//   experts     distinct experts of a layer in a step when all are equally likely: expected, and as `stream` draws them
//
// Phases of a layer: qkv, o, router, gate and up, down. Attention reads the cache, not weights, and is not among them.
#include <cmath>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "bench/gpu/timing.cuh"
#include "kernels/cuda/layout.h"
#include "kernels/cuda/ptx/dependent.cuh"

namespace {

using namespace oss::cuda;

// Room for two blocks, and registers for as many of the next launch, so that an early launch finds room for its loads.
constexpr int kThreads = 256, kBlocksPerMultiprocessor = 2, kRoomForBlocks = 2 * kBlocksPerMultiprocessor;
constexpr int kLoads = 8;                            // 16-byte loads in flight per thread: 64 KB per multiprocessor
constexpr size_t kChunk = kThreads * sizeof(uint4);  // what a block reads with one load per thread

// Blocks share the chunks of a phase evenly and contiguously. A list has the chunks' addresses, as experts are
// scattered.
__global__ void __launch_bounds__(kThreads, kRoomForBlocks)
    stream_kernel(const uint4* const* chunks, int count, unsigned* sum) {
  grid_dependency_launch();
  const int begin = int(int64_t(count) * blockIdx.x / gridDim.x),
            end = int(int64_t(count) * (blockIdx.x + 1) / gridDim.x);
  uint4 values[kLoads];
  const auto load = [&](int j, int at) {
    if (at < end) values[j] = __ldcs(chunks[at] + threadIdx.x);
  };
#pragma unroll
  for (int j = 0; j < kLoads; ++j) {
    values[j] = {};
    load(j, begin + j);
  }
  grid_dependency_wait();
  unsigned all = 0;
  for (int at = begin; at < end; at += kLoads) {
#pragma unroll
    for (int j = 0; j < kLoads; ++j) {
      all ^= values[j].x ^ values[j].y ^ values[j].z ^ values[j].w;
      load(j, at + j + kLoads);
    }
  }
  if (all == 0x9E3779B9u) *sum = all;  // never true, but the compiler cannot know
}

__global__ void fill_kernel(uint4* to, size_t count) {
  for (size_t i = size_t(blockIdx.x) * kThreads + threadIdx.x; i < count; i += size_t(gridDim.x) * kThreads) {
    const uint32_t x = uint32_t(i) * 0x9E3779B9u ^ uint32_t(i >> 32);
    to[i] = {x, x * 0x85EBCA6Bu + 1, x * 0xC2B2AE35u + 2, x ^ x >> 15};
  }
}

__global__ void nothing_kernel() {
  grid_dependency_launch();
  grid_dependency_wait();
}

// `rounds` barriers of all blocks, which must all be resident: the counter only grows.
__global__ void barrier_kernel(unsigned* counter, int rounds) {
  for (int round = 1; round <= rounds; ++round) {
    __syncthreads();
    if (threadIdx.x == 0) {
      __threadfence();
      atomicAdd(counter, 1);
      const unsigned all = unsigned(round) * gridDim.x;
      unsigned seen;
      do asm volatile("ld.acquire.gpu.u32 %0, [%1];\n" : "=r"(seen) : "l"(counter) : "memory");
      while (seen < all);
    }
    __syncthreads();
  }
}

template <typename... Params, typename... Args>
void launch(void (*kernel)(Params...), int blocks, bool dependent, cudaStream_t stream, Args... args) {
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(unsigned(blocks));
  config.blockDim = dim3(kThreads);
  config.stream = stream;
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  config.attrs = &attribute;
  config.numAttrs = dependent ? 1 : 0;
  check(cudaLaunchKernelEx(&config, kernel, static_cast<Params>(args)...), "launch");
}

struct Shape {
  const char* name;
  int layers, experts;
};
constexpr Shape kShapes[] = {{"20b", 24, 32}, {"120b", 36, 128}};
constexpr int kHidden = 2880, kHeads = 64, kKvHeads = 8, kTopK = 4, kVocab = 201088;

// The sizes of one layer's weights, as CudaBackend lays them out.
struct Sizes {
  size_t qkv = packed_matrix_bytes((kHeads + 2 * kKvHeads) * oss::kHeadDim, kHidden);
  size_t o = packed_matrix_bytes(kHidden, kHeads* oss::kHeadDim);
  size_t router, head = packed_matrix_bytes(kVocab, kHidden);
  // of each expert
  size_t up_codes = packed_codes_bytes(2 * kHidden, kHidden), up_scales = packed_scales_bytes(2 * kHidden, kHidden);
  size_t down_codes = packed_codes_bytes(kHidden, kHidden), down_scales = packed_scales_bytes(kHidden, kHidden);
  size_t up_bias = 2 * kHidden * sizeof(float), down_bias = kHidden * sizeof(float);

  explicit Sizes(const Shape& shape) : router(packed_matrix_bytes(shape.experts, kHidden)) {}
  size_t expert() const { return up_codes + up_scales + up_bias + down_codes + down_scales + down_bias; }
};

struct Step {
  std::vector<const char*> chunks;
  std::vector<size_t> phases;  // their ends in `chunks`
  double bytes = 0;
  int distinct = 0;  // experts, in all layers together

  void read(const char* from, size_t size) {
    for (size_t at = 0; at < size; at += kChunk) chunks.push_back(from + at);
    bytes += double(size);
  }
  void end_phase() { phases.push_back(chunks.size()); }
};

// One step of `batch` tokens over weights that lie one after another from `base`.
Step make_step(const Shape& shape, const char* base, int batch, std::mt19937& random) {
  const Sizes of(shape);
  Step step;
  const char* next = base;
  const auto take = [&](size_t bytes) {
    const char* at = next;
    next += bytes;
    return at;
  };
  for (int layer = 0; layer < shape.layers; ++layer) {
    step.read(take(of.qkv), of.qkv);
    step.end_phase();
    step.read(take(of.o), of.o);
    step.end_phase();
    step.read(take(of.router), of.router);
    step.end_phase();
    std::vector<bool> drawn(size_t(shape.experts), false);
    for (int token = 0; token < batch; ++token) {
      std::vector<bool> mine(size_t(shape.experts), false);
      for (int k = 0; k < kTopK;) {
        const size_t expert = random() % unsigned(shape.experts);
        if (mine[expert]) continue;
        mine[expert] = drawn[expert] = true;
        ++k;
      }
    }
    const size_t count = size_t(shape.experts);
    const char* parts[2][3] = {{take(count * of.up_codes), take(count * of.up_scales), take(count * of.up_bias)},
                               {take(count * of.down_codes), take(count * of.down_scales), take(count * of.down_bias)}};
    const size_t bytes[2][3] = {{of.up_codes, of.up_scales, of.up_bias}, {of.down_codes, of.down_scales, of.down_bias}};
    for (int half = 0; half < 2; ++half) {
      for (size_t expert = 0; expert < count; ++expert) {
        if (!drawn[expert]) continue;
        for (int part = 0; part < 3; ++part)
          step.read(parts[half][part] + expert * bytes[half][part], bytes[half][part]);
        step.distinct += half;
      }
      step.end_phase();
    }
  }
  step.read(take(of.head), of.head);
  step.end_phase();
  return step;
}

size_t weight_bytes(const Shape& shape) {
  const Sizes of(shape);
  return size_t(shape.layers) * (of.qkv + of.o + of.router + size_t(shape.experts) * of.expert()) + of.head;
}

void measure_streams(const Shape& shape, const std::vector<int>& batches, int multiprocessors, bool dependent,
                     cudaStream_t stream) {
  const size_t bytes =
      (weight_bytes(shape) + 2 * kChunk) / kChunk * kChunk;  // the last chunk of a part can reach past its end
  char* base = nullptr;
  if (cudaMalloc(&base, bytes) != cudaSuccess) {
    cudaGetLastError();
    std::printf("{\"floor\":\"stream\",\"model\":\"%s\",\"skipped\":\"needs %.1f GB\"}\n", shape.name,
                double(bytes) * 1e-9);
    return;
  }
  unsigned* sum = nullptr;
  check(cudaMalloc(&sum, sizeof(unsigned)), "memory");
  fill_kernel<<<multiprocessors * 8, kThreads, 0, stream>>>(reinterpret_cast<uint4*>(base), bytes / sizeof(uint4));
  check(cudaStreamSynchronize(stream), "filling");
  const int blocks = multiprocessors * kBlocksPerMultiprocessor;
  for (const int batch : batches) {
    std::mt19937 random(7);
    const Step step = make_step(shape, base, batch, random);
    const uint4** chunks = nullptr;
    check(cudaMalloc(&chunks, step.chunks.size() * sizeof(char*)), "memory");
    check(cudaMemcpy(chunks, step.chunks.data(), step.chunks.size() * sizeof(char*), cudaMemcpyDefault), "copy");
    const auto report = [&](const char* edges, const std::function<void(cudaStream_t)>& body) {
      std::printf(
          "{\"floor\":\"stream\",\"model\":\"%s\",\"batch\":%d,\"edges\":\"%s\",\"microseconds\":%.5g,\"bytes\":%.0f}"
          "\n",
          shape.name, batch, edges, replay_seconds(body, stream) * 1e6, step.bytes);
      std::fflush(stdout);
    };
    const auto phases = [&](bool early) {
      return [&, early](cudaStream_t s) {
        size_t begin = 0;
        for (const size_t end : step.phases) {
          launch(stream_kernel, blocks, early && begin > 0, s, chunks + begin, int(end - begin), sum);
          begin = end;
        }
      };
    };
    report("none",
           [&](cudaStream_t s) { launch(stream_kernel, blocks, false, s, chunks, int(step.chunks.size()), sum); });
    report("full", phases(false));
    if (dependent) report("dependent", phases(true));
    const double expected = shape.experts * (1 - std::pow(1 - double(kTopK) / shape.experts, batch));
    std::printf("{\"floor\":\"experts\",\"model\":\"%s\",\"batch\":%d,\"expected\":%.4g,\"drawn\":%.4g}\n", shape.name,
                batch, expected, double(step.distinct) / shape.layers);
    check(cudaFree(chunks), "memory");
  }
  check(cudaFree(sum), "memory");
  check(cudaFree(base), "memory");
}

void measure_barrier(int blocks, cudaStream_t stream) {
  unsigned* counter = nullptr;
  check(cudaMalloc(&counter, sizeof(unsigned)), "memory");
  const auto seconds_of = [&](int rounds) {
    return seconds(
        [&](cudaStream_t s) {
          check(cudaMemsetAsync(counter, 0, sizeof(unsigned), s), "clear");
          void* args[] = {&counter, &rounds};
          check(cudaLaunchCooperativeKernel(reinterpret_cast<const void*>(barrier_kernel), dim3(unsigned(blocks)),
                                            dim3(kThreads), args, 0, s),
                "barrier");
        },
        stream);
  };
  constexpr int kRounds = 1000;
  const double each = (seconds_of(kRounds) - seconds_of(0)) / kRounds;
  std::printf("{\"floor\":\"barrier\",\"blocks\":%d,\"microseconds\":%.4g}\n", blocks, each * 1e6);
  check(cudaFree(counter), "memory");
}

void measure_nodes(int blocks, bool dependent, cudaStream_t stream) {
  const auto seconds_of = [&](int nodes) {
    const auto body = [=](cudaStream_t s) {
      for (int i = 0; i < nodes; ++i) launch(nothing_kernel, blocks, dependent && i > 0, s);
    };
    return replay_seconds(body, stream);
  };
  const double each = (seconds_of(500) - seconds_of(100)) / 400;
  std::printf("{\"floor\":\"node\",\"blocks\":%d,\"edges\":\"%s\",\"microseconds\":%.4g}\n", blocks,
              dependent ? "dependent" : "full", each * 1e6);
}

std::vector<std::string> split(const std::string& list) {
  std::vector<std::string> out;
  for (size_t at = 0; at < list.size();) {
    const size_t comma = std::min(list.find(',', at), list.size());
    out.push_back(list.substr(at, comma - at));
    at = comma + 1;
  }
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> models = split(argc > 1 ? argv[1] : "20b,120b");
  std::vector<int> batches;
  for (const std::string& batch : split(argc > 2 ? argv[2] : "1,2,4,8,16")) batches.push_back(std::atoi(batch.c_str()));
  cudaDeviceProp device{};
  check(cudaGetDeviceProperties(&device, 0), "no GPU");
  const bool dependent = device.major >= 9;
  cudaStream_t stream;
  check(cudaStreamCreate(&stream), "stream");
  for (const int blocks : {1, device.multiProcessorCount, 2 * device.multiProcessorCount}) {
    measure_nodes(blocks, false, stream);
    if (dependent) measure_nodes(blocks, true, stream);
  }
  measure_barrier(device.multiProcessorCount, stream);
  for (const Shape& shape : kShapes) {
    if (std::ranges::find(models, shape.name) != models.end())
      measure_streams(shape, batches, device.multiProcessorCount, dependent, stream);
  }
  check(cudaDeviceSynchronize(), "end");
}
