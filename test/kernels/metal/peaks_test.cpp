// The kernels of the roofs: that they read everything, and multiply as often as they say.
#include <algorithm>

#include "test/kernels/metal/support.h"

namespace oss::test {

TEST("metal peaks: everything is read once, whatever the ranges") {
  for_each_metal_device([](MetalDevice& device) {
    constexpr size_t kRounds = 4;
    std::vector<uint32_t> values(kRounds * metal::kReadRound / 4);
    uint32_t expected = 0;
    for (size_t i = 0; i < values.size(); ++i) expected += values[i] = uint32_t(i) * 2654435761u + 1;
    const MetalArray<uint32_t> words(device, values);
    for (const size_t rounds : {1, 2, 4}) {
      const size_t groups = kRounds / rounds;
      const MetalArray<uint32_t> sums(device, groups * (kReadThreads / 32));
      metal::read_memory(device.encoder, words.data(), groups, rounds * metal::kReadRound, sums.data());
      uint32_t sum = 0;
      for (const uint32_t one : sums.read()) sum += one;
      CHECK(sum == expected);
    }
  });
}

TEST("metal peaks: both units multiply as often as they say") {
  for_each_metal_device([](MetalDevice& device) {
    constexpr uint32_t kGroups = 2;
    constexpr size_t kThreads = size_t(kGroups) * kMultiplyThreads;
    const MetalArray<float> sums(device, kThreads);
    CHECK(metal::multiply(device.encoder, false, 3, kGroups, sums.data()) == double(kThreads) * 8 * 3 * 2);
    std::vector<float> found = sums.read();
    CHECK(std::ranges::all_of(found, [](float v) { return v == 8 * 3; }));
    // Each chain of a simdgroup has a matrix of 8 x 8, whose elements are sums of 8 products a round.
    const MetalArray<float> matrices(device, kThreads * metal::kMultiplyResults);
    CHECK(metal::multiply(device.encoder, true, 2, kGroups, matrices.data()) ==
          double(kThreads / 32) * 8 * 2 * (8 * 8 * 8) * 2);
    found = matrices.read();
    CHECK(std::ranges::all_of(found, [](float v) { return v == 8 * 2; }));
  });
}

}  // namespace oss::test
