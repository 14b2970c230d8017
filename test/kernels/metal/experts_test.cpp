#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "kernels/metal/experts.h"
#include "native/base/error.h"
#include "test/kernels/gpu/experts_layer.h"
#include "test/kernels/metal/low_rank.h"

namespace oss::test {
namespace {

// One matrix of every expert on a device, no better aligned than in a mapped file.
struct DeviceExperts {
  static constexpr int kBlocksFrom = 8, kScalesFrom = 1, kBiasFrom = 2;
  MetalArray<uint8_t> blocks, scales;
  MetalArray<float> bias;

  template <typename T>
  static std::vector<T> shifted(const std::vector<T>& values, int by) {
    std::vector<T> out = values;
    out.insert(out.begin(), size_t(by), T(1));
    return out;
  }
  DeviceExperts(MetalDevice& device, const RawExperts& raw)
      : blocks(device, shifted(raw.blocks, kBlocksFrom)),
        scales(device, shifted(raw.scales, kScalesFrom)),
        bias(device, shifted(raw.bias, kBiasFrom)) {}
  metal::Experts matrix() const {
    return {blocks.data() + kBlocksFrom, scales.data() + kScalesFrom, bias.data() + kBiasFrom};
  }
};

// A layer on a device. Nothing past the tokens is written.
class Runner {
 public:
  Runner(MetalDevice& device, const ExpertsLayer& layer)
      : device_(device), args_(layer.args), gate_up_(device, layer.gate_up), down_(device, layer.down) {}

  std::vector<float> operator()(const ExpertsStep& step) {
    ExpertsArgs args = args_;
    args.tokens = int(step.x.size()) / args.hidden;
    constexpr size_t kPast = 64;
    const MetalArray<uint16_t> normed(device_, to_bf16(step.normed));
    const MetalArray<int32_t> index(device_, step.index);
    const MetalArray<float> weight(device_, step.weight), x(device_, step.x.size() + kPast);
    std::ranges::copy(step.x, x.data());
    const size_t bytes =
        metal::experts_scratch_bytes(args.tokens, args.top_k, args.experts, args.hidden, args.intermediate);
    const MetalArray<uint8_t> scratch(device_, bytes);
    std::unique_ptr<MetalStepAdapters> on_device;  // until the work is done
    if (step.adapted()) {
      on_device = std::make_unique<MetalStepAdapters>(device_, step.adapters, size_t(args.top_k) * kMostLowRank,
                                                      size_t(args.top_k) * 2 * args.intermediate);
      metal::experts_low_rank(device_.encoder, args, on_device->step(), {.gate_up = 1, .down = 1 + args.experts},
                              normed.data(), index.data(), weight.data(), gate_up_.matrix(), down_.matrix(),
                              scratch.data(), x.data());
    } else {
      metal::experts(device_.encoder, args, normed.data(), index.data(), weight.data(), gate_up_.matrix(),
                     down_.matrix(), scratch.data(), x.data());
    }
    std::vector<float> out = x.read();
    for (size_t i = step.x.size(); i < out.size(); ++i) CHECK(is_poison(out[i]));
    out.resize(step.x.size());
    return out;
  }

 private:
  MetalDevice& device_;
  ExpertsArgs args_;
  DeviceExperts gate_up_, down_;
};

}  // namespace

TEST("metal experts: every code with every scale, in every place of the second matrix, exactly") {
  for (const int tokens : {24, 40, 90, 96}) {
    // tokens / experts chooses the kernel. With scales up to 250 no product is infinite.
    const DownCodes codes(tokens == 96 ? 1 : 4, 250);
    for_each_metal_device([&](MetalDevice& device) {
      Runner run(device, codes.layer);
      codes.check(device.name, tokens, std::ref(run));
    });
  }
}

TEST("metal experts: every code with every scale, in every place of the first matrix") {
  for (const int tokens : {24, 40, 90, 96}) {
    for (const int first : {0, 64}) {
      const GateUpCodes codes(tokens == 96 ? 1 : 4, first);
      for_each_metal_device([&](MetalDevice& device) {
        Runner run(device, codes.layer);
        codes.check(device.name, tokens, std::ref(run));
      });
    }
  }
}

TEST("metal experts: scales 0, 1 and 255") {
  const int hidden = 64, intermediate = 32;
  for (const int tokens : {8, 40}) {
    ExpertsLayer layer(hidden, intermediate, 4, 1);
    layer.randomize(81);
    for (int c = 0; c < hidden; ++c) {
      layer.gate_up.set(1, 10, c, c % 8, 255);  // the gate of unit 5 of expert 1
      layer.gate_up.set(2, 21, c, 0, 255);      // the value of unit 10 of expert 2; all codes are 0
      layer.gate_up.set(3, 2, c, 7, c < 32 ? 0 : 1);
    }
    for (int c = 0; c < intermediate; ++c) {
      layer.down.set(0, 7, c, 0, 255);
      layer.down.set(3, 9, c, 7, c % 2);
    }
    ExpertsStep step = random_experts_step(layer.args, tokens, 87);
    for (int t = 0; t < tokens; ++t) step.index[t] = t % 4;
    const ExpertsReference expected(layer, step);
    for_each_metal_device([&](MetalDevice& device) {
      const std::vector<float> y = Runner(device, layer)(step);
      for (int t = 0; t < tokens; ++t) {
        for (int r = 0; r < hidden; ++r) {
          const double at = expected.x[size_t(t) * hidden + r];
          CHECK_EQ(std::isnan(y[size_t(t) * hidden + r]), t % 4 == 1 || t % 4 == 2 || (t % 4 == 0 && r == 7));
          CHECK_EQ(std::isnan(y[size_t(t) * hidden + r]), std::isnan(at));
          if (!std::isnan(at)) CHECK(std::fabs(y[size_t(t) * hidden + r] - at) < 1e-3);
        }
      }
    });
  }
}

TEST("metal experts: against a double loop; an expert with no token, one with all of them") {
  struct Shape {
    int hidden, intermediate, experts, top_k, tokens;
  };
  for (const Shape s : {Shape{64, 128, 5, 4, 1},
                        {160, 96, 32, 4, 1},
                        {96, 160, 32, 4, 7},
                        {128, 64, 4, 4, 8},
                        {32, 32, 2, 1, 2},
                        {64, 96, 12, 4, 11},
                        {160, 160, 5, 4, 9},
                        {128, 128, 4, 2, 40},
                        {96, 32, 32, 4, 70},
                        {32, 64, 5, 4, 65},
                        {96, 64, 12, 8, 7},
                        {32, 96, 256, 2, 33},
                        {32, 64, 40, 2, 80},
                        {2880, 32, 2, 1, 33},
                        {64, 2880, 2, 1, 33}}) {
    ExpertsLayer layer(s.hidden, s.intermediate, s.experts, s.top_k);
    layer.randomize(11);
    ExpertsStep step = random_experts_step(layer.args, s.tokens, 17);
    for (const bool crowded : {false, true}) {
      if (crowded && s.hidden + s.intermediate > 1000) continue;
      if (crowded) crowd(layer.args, step);
      const ExpertsReference expected(layer, step);
      for_each_metal_device([&](MetalDevice& device) {
        expected.check(str(device.name, " hidden ", s.hidden, " tokens ", s.tokens, crowded ? " crowded" : ""),
                       Runner(device, layer)(step), 2 * sum_tolerance(s.hidden + s.intermediate));
      });
    }
  }
}

TEST("metal experts: the sizes of the released models") {
  ExpertsLayer layer(2880, 2880, 1, 1);
  layer.randomize(61);
  const ExpertsStep step = random_experts_step(layer.args, 1, 67);
  const ExpertsReference expected(layer, step);
  for_each_metal_device([&](MetalDevice& device) {
    expected.check(device.name, Runner(device, layer)(step), 2 * sum_tolerance(2 * 2880));
  });
}

TEST("metal experts: with few pairs, a token's result is the same in every batch, bit for bit") {
  const int tokens = 8;
  ExpertsLayer layer(96, 160, 5, 4);
  layer.randomize(21);
  const ExpertsStep step = random_experts_step(layer.args, tokens, 27);
  for_each_metal_device([&](MetalDevice& device) {
    Runner run(device, layer);
    const std::vector<float> together = run(step);
    CHECK_BITS(device.name + " again", run(step), together);
    for (int first = 0; first < tokens; ++first) {
      for (const int count : {1, 3}) {
        if (first + count > tokens) continue;
        check_experts_part(device.name, layer.args, step, first, count, std::ref(run), together);
      }
    }
  });
}

TEST("metal experts: with many pairs, a token's result is the same in every batch and tile, bit for bit") {
  const int tokens = 75;  // of 5 experts: tiles of 64 rows
  ExpertsLayer layer(96, 160, 5, 4);
  layer.randomize(31);
  const ExpertsStep step = random_experts_step(layer.args, tokens, 37);
  for_each_metal_device([&](MetalDevice& device) {
    Runner run(device, layer);
    const std::vector<float> together = run(step);
    CHECK_BITS(device.name + " again", run(step), together);
    for (const auto& [first, count] : {std::pair{3, 40}, {20, 9}, {64, 11}, {0, 70}}) {  // tiles of 32, 16, 16 and 64
      check_experts_part(device.name, layer.args, step, first, count, std::ref(run), together);
    }
  });
}

TEST("metal experts_low_rank: against a double loop; alone and together; tokens without a term keep their bits") {
  struct Shape {
    int hidden, intermediate, experts, top_k, tokens, other;  // other: as many tokens have the same kernels
  };
  // Few pairs, few pairs of many experts, then tiles of 16, 32 and 64 rows.
  for (const Shape s : {Shape{64, 128, 5, 4, 1, 1},
                        {96, 160, 32, 4, 7, 1},
                        {32, 96, 5, 4, 12, 9},
                        {64, 32, 6, 4, 40, 37},
                        {32, 32, 3, 2, 70, 65}}) {
    ExpertsLayer layer(s.hidden, s.intermediate, s.experts, s.top_k);
    layer.randomize(51);
    const ExpertsStep step = adapted_experts_step(layer.args, s.tokens, 57);
    const ExpertsReference expected(layer, step);
    for_each_metal_device([&](MetalDevice& device) {
      const std::string what = str(device.name, " hidden ", s.hidden, " tokens ", s.tokens);
      Runner run(device, layer);
      const std::vector<float> y = run(step);
      expected.check(what, y, 2 * sum_tolerance(s.hidden + s.intermediate));
      CHECK_BITS(what + " again", run(step), y);
      for (int first = 0; first + s.other <= s.tokens; first += s.other == 1 ? 1 : 3)
        check_experts_part(what, layer.args, step, first, s.other, std::ref(run), y);
      check_experts_terms(what, layer.args, step, y, run(random_experts_step(layer.args, s.tokens, 57)));
    });
  }
}

TEST("metal experts_low_rank: no barrier can be left out") {
  ExpertsLayer layer(32, 32, 5, 4);
  layer.randomize(41);
  std::vector<Term> terms = {Term()};
  for (int e = 0; e < 5; ++e) terms.emplace_back(32, 64, 3, uint32_t(100 + 2 * e));
  for (int e = 0; e < 5; ++e) terms.emplace_back(32, 32, 3, uint32_t(200 + 2 * e));
  for (const int tokens : {4, 9}) {
    ExpertsStep step = random_experts_step(layer.args, tokens, 43);
    step.adapters = {{terms}, std::vector<int>(size_t(tokens), 0)};
    for_each_metal_device([&](MetalDevice& device) {
      Runner run(device, layer);
      run(step);
      const int64_t barriers = device.encoder.barriers();
      CHECK_EQ(barriers, int64_t(tokens == 4 ? 4 : 5));
      for (int missing = 1; missing <= barriers; ++missing) {
        if (!drop_metal_barrier(missing)) return;
        CHECK_THROWS(Code::kDevice, "the GPU failed", run(step));  // or it reads a list that is not there
      }
    });
  }
}

TEST("metal experts: dispatches, barriers and scratch memory") {
  ExpertsLayer layer(32, 32, 5, 4);
  layer.randomize(41);
  for_each_metal_device([&](MetalDevice& device) {
    Runner run(device, layer);
    int64_t dispatches = 0, barriers = 0;
    const auto count = [&](int tokens) {
      run(random_experts_step(layer.args, tokens, 43));
      const std::pair added = {device.encoder.dispatches() - dispatches, device.encoder.barriers() - barriers};
      dispatches += added.first;
      barriers += added.second;
      return added;
    };
    CHECK(count(0) == std::pair(int64_t(0), int64_t(0)));
    CHECK(count(8) == std::pair(int64_t(2), int64_t(1)));
    CHECK(count(9) == std::pair(int64_t(4), int64_t(3)));
  });
  size_t before = 0;  // memory for many tokens suffices for fewer
  for (int tokens = 1; tokens < 100; ++tokens) {
    const size_t bytes = metal::experts_scratch_bytes(tokens, 4, 32, 2880, 2880);
    CHECK(bytes >= before);
    before = bytes;
  }
}

}  // namespace oss::test
