// The roofs of an NVIDIA GPU.
#include <algorithm>

#include "kernels/common/synthetic.h"
#include "native/backend/cuda/cuda_backend.h"

namespace oss {

Peaks CudaBackend::peaks(size_t cold_bytes, double seconds) {
  gpu_->use();
  Peaks peaks;
  const size_t blocks = std::max<size_t>(cold_bytes / cuda::kReadBlockBytes, 1), bytes = blocks * cuda::kReadBlockBytes;
  const Buffer words = gpu_->allocate(bytes, "the roof of memory");
  const Buffer sums = gpu_->allocate(blocks * cuda::kReadWarps * sizeof(uint32_t), "the roof of memory");
  const cuda::SynthesizeArgs random = {
      .kind = kSyntheticCodes, .key_lo = 1, .key_hi = 0, .first = 0, .count = bytes, .scale = 0};
  gpu_->check(module_.synthesize(random, words.as<void>(), gpu_->stream), "random words");
  for (int pass = 0; pass < kPeakPasses; ++pass) {
    const double took = timed(
        [&] {
          gpu_->check(module_.read_memory(bytes, words.as<void>(), sums.as<uint32_t>(), gpu_->stream), "read_memory");
        },
        pass > 0);
    peaks.bytes_per_second = std::max(peaks.bytes_per_second, double(bytes) / took);
  }
  peaks.bytes_by = "a kernel that reads, the best of 7 passes";

  const Buffer out = gpu_->allocate(size_t(gpu_->properties.multiprocessors) * cuda::kMultiplyThreads * sizeof(float),
                                    "the roof of arithmetic");
  const auto unit = [&](bool on_bf16_unit, const char* instruction) {
    const auto multiply = [&](int rounds, double& took) {
      double flops = 0;
      took = timed(
          [&] {
            const cuda::MultiplyArgs args = {.rounds = rounds, .on_bf16_unit = on_bf16_unit};
            gpu_->check(module_.multiply(args, out.as<float>(), &flops, gpu_->stream), "multiply");
          },
          false);
      return flops;
    };
    return UnitPeak{instruction, best_flops_per_second(seconds, multiply)};
  };
  peaks.float32 = unit(false, "fma.rn.f32");
  peaks.bf16 = unit(true, "mma.sync.m16n8k16 bf16");
  return peaks;
}

}  // namespace oss
