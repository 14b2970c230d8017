#include <algorithm>

#include "test/kernels/metal/support.h"

namespace oss::test {

TEST("metal router: golden logits, and golden ties: the lower expert first") {
  const SafetensorsFile file = golden("router");
  for (const std::string name : {"plain", "ties"}) {
    const HostTensor &logits = file.tensors.at(name), &expected = file.tensors.at(name + "_index");
    const std::vector<double> weights = doubles(file.tensors.at(name + "_weight"));
    const RouterArgs args = {int(logits.shape[0]), int(logits.shape[1]), 4};
    for_each_metal_device([&](MetalDevice& device) {
      const MetalArray<float> in(device, floats(logits)), weight(device, weights.size());
      const MetalArray<int32_t> index(device, weights.size());
      metal::router(device.encoder, args, in.data(), index.data(), weight.data());
      const std::vector<int32_t> chosen = index.read();
      for (size_t i = 0; i < chosen.size(); ++i) CHECK_EQ(chosen[i], expected.as<int32_t>()[i]);
      // A few roundings: exp to 4 units in the last place, a sum of four, a division.
      CHECK_CLOSE(str(device.name, " ", name), weight.data(), weights.data(), weights.size(), 0, 5e-7);
    });
  }
}

// The softmax over the chosen experts in double; sorting makes the choice.
TEST("metal router: 1 to 256 experts, infinite and equal logits; nothing past the last token") {
  struct Shape {
    int tokens, experts, top_k;
  };
  for (const Shape s : {Shape{1, 32, 4}, {3, 128, 4}, {9, 5, 4}, {2, 256, 8}, {4, 6, 6}, {1, 1, 1}, {5, 40, 32}}) {
    std::vector<float> logits;
    for (const uint16_t bits : random_bf16(size_t(s.tokens) * s.experts, 5, 3)) logits.push_back(bf16_to_f32(bits));
    for (size_t i = 0; i < logits.size(); i += 7) logits[i] = i % 2 == 0 ? 0.0f : -0.0f;
    if (s.experts == 128) logits[3] = -INFINITY;
    if (s.experts == 40) std::fill(logits.begin() + 4, logits.begin() + 30, -INFINITY);  // some must be chosen
    if (s.experts == 6) std::fill(logits.begin(), logits.end(), 2.5f);
    for_each_metal_device([&](MetalDevice& device) {
      const std::string what = str(device.name, " experts ", s.experts);
      const size_t chosen = size_t(s.tokens) * s.top_k;
      const MetalArray<float> in(device, logits), weight(device, chosen + 8);
      const MetalArray<int32_t> index(device, chosen + 8);
      metal::router(device.encoder, {s.tokens, s.experts, s.top_k}, in.data(), index.data(), weight.data());
      const std::vector<int32_t> got = index.read();
      for (int t = 0; t < s.tokens; ++t) {
        const float* of_token = logits.data() + size_t(t) * s.experts;
        std::vector<int32_t> order;
        for (int e = 0; e < s.experts; ++e) order.push_back(e);
        std::ranges::stable_sort(order, [&](int a, int b) { return of_token[a] > of_token[b]; });
        std::vector<double> expected;
        double total = 0;
        for (int k = 0; k < s.top_k; ++k) {
          CHECK_EQ(got[size_t(t) * s.top_k + k], order[k]);
          expected.push_back(std::exp(double(of_token[order[k]]) - of_token[order[0]]));
          total += expected.back();
        }
        for (double& share : expected) share /= total;
        // As above; a sum of n has n roundings.
        CHECK_CLOSE(what, weight.data() + size_t(t) * s.top_k, expected.data(), expected.size(), 0,
                    5e-7 + s.top_k * 0x1p-24);
      }
      for (size_t i = chosen; i < got.size(); ++i) {
        CHECK(uint32_t(got[i]) == 0xCDCDCDCDu);
        CHECK(std::bit_cast<uint32_t>(weight.data()[i]) == 0xCDCDCDCDu);
      }
    });
  }
}

TEST("metal router: NaN never chooses an expert that there is not, or one twice") {
  std::vector<float> logits(40, NAN);
  for (size_t i = 0; i < 20; ++i) logits[i] = std::bit_cast<float>(0xFFFFFFFFu);
  for_each_metal_device([&](MetalDevice& device) {
    const MetalArray<float> in(device, logits), weight(device, 8);
    const MetalArray<int32_t> index(device, 8);
    metal::router(device.encoder, {2, 20, 4}, in.data(), index.data(), weight.data());
    const std::vector<int32_t> chosen = index.read();
    for (int k = 0; k < 4; ++k) {
      CHECK_EQ(chosen[k], k);
      CHECK_EQ(chosen[4 + k], k);
    }
  });
}

TEST("metal router: no tokens, no dispatch") {
  for_each_metal_device([](MetalDevice& device) {
    const MetalArray<float> logits(device, 32), weight(device, 4);
    const MetalArray<int32_t> index(device, 4);
    metal::router(device.encoder, {0, 32, 4}, logits.data(), index.data(), weight.data());
    CHECK_EQ(device.encoder.dispatches(), 0);
  });
}

TEST("metal norm_router: bit for bit the results of rms_norm, linear and router") {
  struct Shape {
    int tokens, hidden, experts, top_k;
  };
  for_each_metal_device([](MetalDevice& device) {
    for (const Shape& s :
         {Shape{1, 96, 8, 4}, {3, 160, 5, 2}, {8, 2880, 32, 4}, {2, 2880, 128, 4}, {1, 4096, 256, 8}}) {
      const size_t values = size_t(s.tokens) * size_t(s.hidden), weights = size_t(s.experts) * size_t(s.hidden);
      const size_t chosen = size_t(s.tokens) * size_t(s.top_k);
      const MetalArray<float> x(device, random_floats(values, 1)), norm(device, random_floats(size_t(s.hidden), 2)),
          bias(device, random_floats(size_t(s.experts), 3));
      const MetalArray<uint16_t> w(device, random_bf16(weights, 4, 0.1f));
      const MetalArray<uint16_t> normed(device, values), low(device, values), fused_normed(device, values);
      const MetalArray<float> logits(device, size_t(s.tokens) * size_t(s.experts)), weight(device, chosen),
          fused_weight(device, chosen);
      const MetalArray<int32_t> index(device, chosen), fused_index(device, chosen);
      const RouterArgs choice = {s.tokens, s.experts, s.top_k};
      CHECK(metal::fuses_router(s.tokens, s.hidden, s.experts));
      metal::rms_norm(device.encoder, {s.tokens, s.hidden, 1e-5f}, x.data(), norm.data(), normed.data(), low.data());
      metal::linear(device.encoder, {s.tokens, s.hidden, s.experts, 0, 1}, normed.data(), low.data(), w.data(),
                    bias.data(), logits.data());
      metal::router(device.encoder, choice, logits.data(), index.data(), weight.data());
      metal::norm_router(device.encoder, choice, s.hidden, 1e-5f, x.data(), norm.data(), w.data(), bias.data(),
                         fused_normed.data(), fused_index.data(), fused_weight.data());
      CHECK(fused_normed.read() == normed.read());
      CHECK(fused_index.read() == index.read());
      CHECK_BITS(str(device.name, " experts ", s.experts), fused_weight.read(), weight.read());
    }
  });
  CHECK(!metal::fuses_router(9, 2880, 32));
  CHECK(!metal::fuses_router(1, 4128, 32));
}

}  // namespace oss::test
