#include "native/loader/safetensors.h"
#include "test/kernels/cuda/support.h"

namespace oss::test {
namespace {

struct RouterResult {
  std::vector<int32_t> index;
  std::vector<float> weight;
};
// `tokens` tokens of a step with room for args.tokens.
static RouterResult run_router(CudaDevice& device, const RouterArgs& args, int tokens,
                               const std::vector<float>& logits) {
  const DeviceArray<int32_t> count(device, std::vector<int32_t>{tokens});
  const DeviceArray<float> in(device, logits), weight(device, size_t(args.tokens) * args.top_k);
  const DeviceArray<int32_t> index(device, weight.size());
  device.check(device.module.router(args, count.data(), in.data(), index.data(), weight.data(), device.stream),
               "router");
  return {index.read(), weight.read()};
}

TEST("cuda router: golden logits, and golden ties: the lower expert first") {
  const SafetensorsFile file = read_safetensors(source_path("test/golden/kernels/router.safetensors"));
  for (const std::string name : {"plain", "ties"}) {
    const HostTensor &logits = file.tensors.at(name), &index = file.tensors.at(name + "_index");
    const HostTensor& weight = file.tensors.at(name + "_weight");
    std::vector<float> x;
    std::vector<double> expected;
    for (int64_t i = 0; i < logits.elements(); ++i)
      x.push_back(logits.dtype == DType::kF64 ? float(logits.as<double>()[i]) : logits.as<float>()[i]);
    for (int64_t i = 0; i < weight.elements(); ++i)
      expected.push_back(weight.dtype == DType::kF64 ? weight.as<double>()[i] : weight.as<float>()[i]);
    for_each_cuda_device([&](CudaDevice& device) {
      const int tokens = int(logits.shape[0]);
      const RouterResult got = run_router(device, {tokens, int(logits.shape[1]), 4}, tokens, x);
      for (size_t i = 0; i < got.index.size(); ++i) CHECK_EQ(got.index[i], index.as<int32_t>()[i]);
      // A few roundings: exp to 2 units in the last place, a sum of four, a division.
      CHECK_CLOSE(str(device.name, " ", name), got.weight.data(), expected.data(), expected.size(), 0, 3e-7);
    });
  }
}

// The softmax over the chosen experts in double; sorting makes the choice.
TEST("cuda router: 1 to 256 experts, infinite and equal logits; nothing past the last token") {
  struct Shape {
    int tokens, capacity, experts, top_k;
  };
  for (const Shape s :
       {Shape{1, 1, 32, 4}, {3, 8, 128, 4}, {9, 9, 5, 4}, {2, 5, 256, 8}, {4, 4, 6, 6}, {1, 2, 1, 1}, {0, 3, 32, 4}}) {
    std::vector<float> logits = bf16_values(size_t(s.capacity) * s.experts, 5, 3);
    for (size_t i = 0; i < logits.size(); i += 7) logits[i] = i % 2 == 0 ? 0.0f : -0.0f;
    if (s.experts == 128) logits[3] = -INFINITY;
    if (s.experts == 6) std::fill(logits.begin(), logits.end(), 2.5f);
    for_each_cuda_device([&](CudaDevice& device) {
      const RouterResult got = run_router(device, {s.capacity, s.experts, s.top_k}, s.tokens, logits);
      const std::string what = str(device.name, " experts ", s.experts);
      for (int t = 0; t < s.tokens; ++t) {
        const float* of_token = logits.data() + size_t(t) * s.experts;
        std::vector<int32_t> order(s.experts);
        for (int e = 0; e < s.experts; ++e) order[e] = e;
        std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return of_token[a] > of_token[b]; });
        std::vector<double> expected;
        double total = 0;
        for (int k = 0; k < s.top_k; ++k) {
          CHECK_EQ(got.index[size_t(t) * s.top_k + k], order[k]);
          expected.push_back(std::exp(double(of_token[order[k]]) - of_token[order[0]]));
          total += expected.back();
        }
        for (double& w : expected) w /= total;
        CHECK_CLOSE(what, got.weight.data() + size_t(t) * s.top_k, expected.data(), expected.size(), 0, 5e-7);
      }
      for (size_t i = size_t(s.tokens) * s.top_k; i < got.index.size(); ++i)
        CHECK(uint32_t(got.index[i]) == 0xCDCDCDCDu);
    });
  }
}

}  // namespace
}  // namespace oss::test
