// The device and the CPU sum weights in different orders. They can differ when a draw or top-p's mass falls within
// 1e-13 of a border between two tokens.
#include "kernels/cuda/sample_scratch.h"

#include <memory>

#include "test/kernels/cuda/support.h"
#include "test/kernels/gpu/sample_checks.h"

namespace oss::test::sampling {
namespace {

// The device sums in float32 what the CPU sums in float64: 2 units in the last place of a logarithm, or 1e-6.
constexpr Tolerance kTolerance = {1e-6f, 2.4e-7f};

std::vector<cuda::SampleResult> run_batch(CudaDevice& device, const Batch& batch) {
  constexpr int kSpare = 3;  // rows of the capacity that the step does not fill
  const int rows = int(batch.draws.size());
  Lists<cuda::SampleRow, cuda::SampleSeen, cuda::SampleBias> lists(batch);
  std::vector<std::unique_ptr<DeviceArray<uint32_t>>> masks;
  for (size_t i = 0; i < batch.draws.size(); ++i) {
    if (batch.draws[i].allowed.empty()) continue;
    masks.push_back(std::make_unique<DeviceArray<uint32_t>>(device, batch.draws[i].allowed));
    lists.rows[i].allowed = masks.back()->data();
  }
  const cuda::SampleArgs args = {.rows = rows + kSpare, .vocab = batch.vocab};
  const DeviceArray<float> logits(device, batch.logits);
  const DeviceArray<int32_t> num_rows(device, std::vector<int32_t>{rows});
  const DeviceArray<cuda::SampleRow> device_rows(device, lists.rows);
  const DeviceArray<cuda::SampleSeen> device_seen(device, lists.seen);
  const DeviceArray<cuda::SampleBias> device_bias(device, lists.bias);
  const DeviceArray<std::byte> scratch(device, cuda::sample_scratch_bytes(args));
  const DeviceArray<cuda::SampleResult> out(device, size_t(args.rows));
  const auto sample = [&] {
    device.check(device.module.sample(args, num_rows.data(), logits.data(), device_rows.data(), device_seen.data(),
                                      device_bias.data(), scratch.data(), out.data(), device.stream),
                 "sample");
  };
  sample();
  std::vector<cuda::SampleResult> results = out.read();
  CHECK(all_bytes(logits.read()) == all_bytes(batch.logits));
  CHECK(is_untouched(all_bytes(std::vector<cuda::SampleResult>(results.begin() + rows, results.end()))));
  if (rows <= 64) {
    sample();  // a step finds the scratch memory of the previous step
    CHECK(all_bytes(out.read()) == all_bytes(results));
  }
  results.resize(size_t(rows));
  return results;
}

void check_batch(CudaDevice& device, Batch batch) {
  check_draws(device.name, batch, run_batch(device, batch), kTolerance);
}

TEST("cuda sample: the CPU's tokens and log probabilities, for all parameters and shapes of logits") {
  for_each_cuda_device([](CudaDevice& device) {
    check_batch(device, random_batch(1, 1, 64));
    check_batch(device, random_batch(2, 5, 200));
    for (uint32_t seed = 3; seed < 6; ++seed) check_batch(device, random_batch(seed, 301, 256));
    for (uint32_t seed = 7; seed < 9; ++seed) check_batch(device, random_batch(seed, 2000, 256));
    for (const int vocab : {2048, 2049, 5003}) check_batch(device, random_batch(uint32_t(vocab), vocab, 65));
  });
}

TEST("cuda sample: the full vocabulary") {
  for_each_cuda_device([](CudaDevice& device) { check_batch(device, full_vocab_batch(cuda::kMaxTopLogprobs)); });
}

TEST("cuda sample: reserved ids are masked one by one") {
  for_each_cuda_device([](CudaDevice& device) {
    check_batch(device, reserved_batch(
                            {199999, 200000, 200001, 200002, 200004, 200005, 200008, 200009, 200012, 200013, 201087}));
  });
}

TEST("cuda sample: the last token that top-p keeps") {
  for_each_cuda_device([](CudaDevice& device) { check_batch(device, last_kept_batch()); });
}

TEST("cuda sample: ties at the limits of top-k and top-p are kept by their ids") {
  for_each_cuda_device([](CudaDevice& device) {
    Batch batch = ties_batch();
    const std::vector<cuda::SampleResult> results = run_batch(device, batch);
    check_ties(batch, results);
    check_draws(device.name, batch, results, kTolerance);
  });
}

TEST("cuda sample: a step without rows, and a capacity of 0") {
  for_each_cuda_device([](CudaDevice& device) {
    CHECK(run_batch(device, {301, std::vector<float>(301, 1.0f), {}}).empty());
    const cuda::SampleArgs none = {.rows = 0, .vocab = 301};
    CHECK_EQ(device.module.sample(none, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, device.stream),
             0);
  });
}

}  // namespace
}  // namespace oss::test::sampling
