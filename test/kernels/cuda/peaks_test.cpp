// The kernels of the roofs: that they read everything, and multiply as often as they say.
#include <algorithm>

#include "test/kernels/cuda/support.h"

namespace oss::test {

TEST("cuda peaks: everything is read once") {
  for_each_cuda_device([](CudaDevice& device) {
    constexpr size_t kBlocks = 3;
    std::vector<uint32_t> values(kBlocks * cuda::kReadBlockBytes / 4);
    uint32_t expected = 0;
    for (size_t i = 0; i < values.size(); ++i) expected += values[i] = uint32_t(i) * 2654435761u + 1;
    const DeviceArray<uint32_t> words(device, values), sums(device, kBlocks * cuda::kReadWarps + 1);
    device.check(device.module.read_memory(words.bytes(), words.data(), sums.data(), device.stream), "read_memory");
    std::vector<uint32_t> found = sums.read();
    CHECK(found.back() == 0xCDCDCDCDu);
    found.pop_back();
    uint32_t sum = 0;
    for (const uint32_t one : found) sum += one;
    CHECK(sum == expected);
    CHECK(device.module.read_memory(words.bytes() - 16, words.data(), sums.data(), device.stream) != 0);
  });
}

TEST("cuda peaks: both units multiply as often as they say") {
  for_each_cuda_device([](CudaDevice& device) {
    cuda::DeviceProperties properties{};
    device.check(device.module.device_properties(0, &properties), "device_properties");
    const size_t threads = size_t(properties.multiprocessors) * cuda::kMultiplyThreads;
    const DeviceArray<float> out(device, threads + 1);
    const auto run = [&](int rounds, int on_bf16_unit) {
      double flops = 0;
      device.check(device.module.multiply({rounds, on_bf16_unit}, out.data(), &flops, device.stream), "multiply");
      return flops;
    };
    // Eight chains in each thread; an mma is 16 x 8 x 16 products of a warp, of which a thread has four results.
    CHECK(run(3, 0) == double(threads) * 8 * 3 * 2);
    std::vector<float> found = out.read();
    CHECK(std::all_of(found.begin(), found.end() - 1, [](float v) { return v == 8 * 3; }));
    CHECK(run(2, 1) == double(threads / 32) * 8 * 2 * (16 * 8 * 16) * 2);
    found = out.read();
    CHECK(std::all_of(found.begin(), found.end() - 1, [](float v) { return v == 8 * 2 * 4 * 16; }));
  });
}

}  // namespace oss::test
