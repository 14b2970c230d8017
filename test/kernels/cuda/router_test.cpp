#include "test/kernels/cuda/support.h"
#include "test/kernels/gpu/router_problem.h"

namespace oss::test {
namespace {

// In a step with room for `capacity` tokens.
RouterChoice run_router(CudaDevice& device, const RouterProblem& p, int capacity) {
  const DeviceArray<int32_t> count(device, std::vector<int32_t>{p.tokens});
  DeviceArray<float> logits(device, size_t(capacity) * p.experts);
  logits.write(p.logits);
  const DeviceArray<float> weight(device, size_t(capacity) * p.top_k);
  const DeviceArray<int32_t> index(device, weight.size());
  device.check(device.module.router({capacity, p.experts, p.top_k}, count.data(), logits.data(), index.data(),
                                    weight.data(), device.stream),
               "router");
  return {index.read(), weight.read()};
}

}  // namespace

TEST("cuda router: golden logits, and golden ties: the lower expert first") {
  for (const char* name : {"plain", "ties"}) {
    const RouterProblem p = golden_router(name);
    for_each_cuda_device([&](CudaDevice& device) {
      const std::string what = str(device.name, " ", name);
      const RouterChoice got = run_router(device, p, p.tokens);
      p.check_index(what, got);
      // A few roundings: exp to 2 units in the last place, a sum of four, a division.
      CHECK_CLOSE(what, got.weight.data(), p.weight.data(), p.weight.size(), 0, 3e-7);
    });
  }
}

TEST("cuda router: 1 to 256 experts, infinite and equal logits; nothing past the last token") {
  struct Shape {
    int tokens, capacity, experts, top_k;
  };
  for (const Shape s :
       {Shape{1, 1, 32, 4}, {3, 8, 128, 4}, {9, 9, 5, 4}, {2, 5, 256, 8}, {4, 4, 6, 6}, {1, 2, 1, 1}, {0, 3, 32, 4}}) {
    const RouterProblem p = random_router(s.tokens, s.experts, s.top_k);
    for_each_cuda_device([&](CudaDevice& device) {
      p.check(str(device.name, " experts ", s.experts), run_router(device, p, s.capacity), 5e-7);
    });
  }
}

}  // namespace oss::test
