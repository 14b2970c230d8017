#include "test/kernels/cuda/values.h"

namespace oss::test {

TEST("cuda embed: exactly the rows of the step's tokens, given or drawn before, widened") {
  for_each_cuda_device([](CudaDevice& device) {
    const int vocab = 11, capacity = 6;
    const std::vector<int32_t> given = {10, -2, 3, -1}, ids = {10, 0, 3, 7};
    std::vector<cuda::SampleResult> drawn(2);
    drawn[0].token = 7;
    drawn[1].token = 0;
    const DeviceCounts counts(device, int(ids.size()));
    const DeviceArray<int32_t> tokens(device, given);
    const DeviceArray<cuda::SampleResult> device_drawn(device, drawn);
    cuda::DeviceStep step{};
    step.counts = counts.data();
    step.tokens = tokens.data();
    step.drawn = device_drawn.data();
    for (const int hidden : {32, 160, 2880, 3200}) {
      const std::vector<float> table = exact_values(size_t(vocab) * hidden, 1);
      const DeviceArray<uint16_t> device_table(device, to_bf16(table));
      const DeviceArray<float> x(device, size_t(capacity) * hidden);
      device.check(device.module.embed({capacity, hidden}, step, device_table.data(), x.data(), device.stream),
                   "embed");
      check_rows(device.name, x.read(), table, hidden, ids);
    }
  });
}

TEST("cuda gather_rows: exactly the rows whose logits are needed") {
  for_each_cuda_device([](CudaDevice& device) {
    const int tokens = 7, capacity = 5;
    const std::vector<int32_t> wanted = {6, 2, 3};
    const DeviceCounts counts(device, tokens, int(wanted.size()));
    const DeviceArray<int32_t> logit_tokens(device, wanted);
    cuda::DeviceStep step{};
    step.counts = counts.data();
    step.logit_tokens = logit_tokens.data();
    for (const int hidden : {32, 2880}) {
      const std::vector<float> x = exact_values(size_t(tokens) * hidden, 1);
      const DeviceArray<float> from(device, x), rows(device, size_t(capacity) * hidden);
      device.check(device.module.gather_rows({capacity, hidden}, step, from.data(), rows.data(), device.stream),
                   "gather_rows");
      check_rows(device.name, rows.read(), x, hidden, wanted);
    }
  });
}

}  // namespace oss::test
