// The roofs of an Apple GPU.
#include "native/backend/peaks.h"

#include <algorithm>

#include "kernels/metal/peaks.h"
#include "native/backend/metal/metal_backend.h"
#include "native/backend/metal/operations.h"
#include "native/base/error.h"

namespace oss {
namespace metal {

static constexpr int kSimdgroups = kReadThreads / 32;

void read_memory(Encoder& encoder, const uint32_t* words, size_t groups, size_t range_bytes, uint32_t* sums) {
  const ReadLaunch launch = {.vectors = int(range_bytes / 16)};
  encoder.dispatch("read_memory", {uint32_t(groups)}, kReadThreads,
                   {bytes_of(launch), reads(words, groups * range_bytes / 4), writes(sums, groups * kSimdgroups)});
}

double multiply(Encoder& encoder, bool matrices, int rounds, uint32_t groups, float* out) {
  const MultiplyLaunch launch = {.rounds = rounds, .value = 1};
  const double chains = double(groups) * kMultiplyThreads * kMultiplyChains * rounds;
  const size_t results = size_t(groups) * kMultiplyThreads * (matrices ? kMultiplyResults : 1);
  encoder.dispatch(matrices ? "multiply_matrices" : "multiply_floats", {groups}, kMultiplyThreads,
                   {bytes_of(launch), writes(out, results)});
  return matrices ? chains / 32 * (2.0 * 8 * 8 * 8) : chains * 2;
}

}  // namespace metal

Peaks MetalBackend::peaks(size_t cold_bytes, double seconds) {
  constexpr size_t kRound = metal::kReadRound;
  constexpr size_t kRangesInRounds[] = {1, 4, 16,
                                        64};  // 16 KB to 1 MB to a threadgroup: which is best depends on the GPU
  constexpr size_t kMostRange = 64 * kRound;
  constexpr uint32_t kGroups = 640;  // several for each core

  Peaks peaks;
  const uint64_t most = std::min(device_->limits().buffer_bytes, device_->limits().working_set_bytes / 2);
  const size_t bytes = std::max<size_t>(1, std::min<uint64_t>(cold_bytes, most) / kMostRange) * kMostRange;
  const Buffer words = allocate(bytes, "the roof of memory");
  const Buffer sums = allocate(bytes / kRound * metal::kSimdgroups * sizeof(uint32_t), "the roof of memory");
  const Buffer out =
      allocate(size_t(kGroups) * kMultiplyThreads * metal::kMultiplyResults * sizeof(float), "the roof of arithmetic");
  for (size_t i = 0; i < bytes / 4; ++i) words.as<uint32_t>()[i] = uint32_t(i) * 2654435761u;
  if (!device_->make_resident())
    throw Error(Code::kOutOfMemory, "the GPU cannot keep the memory that a roof reads; choose a smaller coldBytes");
  for (const size_t rounds : kRangesInRounds) {
    const size_t range = rounds * kRound;
    for (int pass = 0; pass < kPeakPasses; ++pass) {
      const double took =
          timed([&] { metal::read_memory(*encoder_, words.as<uint32_t>(), bytes / range, range, sums.as<uint32_t>()); },
                false);
      peaks.bytes_per_second = std::max(peaks.bytes_per_second, double(bytes) / took);
    }
  }
  peaks.bytes_by = "a kernel that reads, the best of 28 passes with four sizes of ranges";

  const auto unit = [&](bool matrices, const char* instruction) {
    const auto multiply = [&](int rounds, double& took) {
      double flops = 0;
      took = timed([&] { flops = metal::multiply(*encoder_, matrices, rounds, kGroups, out.as<float>()); }, false);
      return flops;
    };
    return UnitPeak{instruction, best_flops_per_second(seconds, multiply)};
  };
  peaks.float32 = unit(false, "fma of float");
  peaks.bf16 = unit(true, "simdgroup_multiply_accumulate of bfloat");
  return peaks;
}

}  // namespace oss
