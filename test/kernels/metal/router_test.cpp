#include <cmath>

#include "test/kernels/gpu/router_problem.h"
#include "test/kernels/metal/support.h"

namespace oss::test {
namespace {

// With room for some more choices.
RouterChoice run_router(MetalDevice& device, const RouterProblem& p) {
  const MetalArray<float> logits(device, p.logits), weight(device, p.weight.size() + 8);
  const MetalArray<int32_t> index(device, weight.size());
  metal::router(device.encoder, {p.tokens, p.experts, p.top_k}, logits.data(), index.data(), weight.data());
  return {index.read(), weight.read()};
}

}  // namespace

TEST("metal router: golden logits, and golden ties: the lower expert first") {
  for (const char* name : {"plain", "ties"}) {
    const RouterProblem p = golden_router(name);
    for_each_metal_device([&](MetalDevice& device) {
      const std::string what = str(device.name, " ", name);
      const RouterChoice got = run_router(device, p);
      p.check_index(what, got);
      // A few roundings: exp to 4 units in the last place, a sum of four, a division.
      CHECK_CLOSE(what, got.weight.data(), p.weight.data(), p.weight.size(), 0, 5e-7);
    });
  }
}

TEST("metal router: 1 to 256 experts, infinite and equal logits; nothing past the last token") {
  struct Shape {
    int tokens, experts, top_k;
  };
  for (const Shape s : {Shape{1, 32, 4}, {3, 128, 4}, {9, 5, 4}, {2, 256, 8}, {4, 6, 6}, {1, 1, 1}, {5, 40, 32}}) {
    const RouterProblem p = random_router(s.tokens, s.experts, s.top_k);
    for_each_metal_device([&](MetalDevice& device) {
      // As above; a sum of n has n roundings.
      p.check(str(device.name, " experts ", s.experts), run_router(device, p), 5e-7 + s.top_k * 0x1p-24);
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
