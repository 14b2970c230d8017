// The attention tests that both GPUs have, each on one device. Run is a RunOn with the kernels:
//   singles(more_splits)   the results of the kernel for single tokens; as if another token of the step saw more keys,
//                          so that the grid has so many more splits
//   tiles(), both()        those of the kernel for tiles; of both kernels, each with its own tokens
//   splits()               of the grid for single tokens
#pragma once
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "test/kernels/gpu/attention_run.h"
#include "test/kernels/support.h"

namespace oss::test::attention {

template <class Run>
using DeviceOf = typename Run::Device;

// Both kernels against the same reference with the same bound, and so also against each other.
template <class Run>
void check_both(DeviceOf<Run>& device, const std::string& what, const Scene& scene, const Expected& expected) {
  Run run(device, scene);
  check_within(str(device.name, " singles ", what), run.singles(), expected);
  check_within(str(device.name, " tiles ", what), run.tiles(), expected);
}
template <class Run>
void check_both(DeviceOf<Run>& device, const Scene& scene) {
  check_both<Run>(device, scene.name(), scene, expected(scene));
}

template <class Run>
void golden_sinks_and_windows(DeviceOf<Run>& device) {
  const SafetensorsFile file = golden("attention");
  const auto values = [&](const std::string& name) { return doubles(file.tensors.at(name)); };
  const std::vector<double> q = values("q"), sinks = values("sinks");
  const int heads = int(sinks.size());  // the same queries once per sink
  for (const int window : {0, 1, 7}) {
    std::vector<Token> tokens;
    add_prefill(tokens, 0, 39);
    Scene scene({.heads = heads, .kv_heads = 1, .window = window}, tokens);
    scene.k = {values("k")};
    scene.v = {values("v")};
    scene.sinks = sinks;
    const std::vector<double> golden = values(str("expect_window", window, "_f64"));  // [sinks, 40, 64]
    for (int t = 0; t < 40; ++t) {
      for (int h = 0; h < heads; ++h) {
        std::copy_n(&q[t * kHeadDim], kHeadDim, &scene.q[(t * heads + h) * kHeadDim]);
      }
    }
    Expected want = expected(scene, true);
    double worst = 0;  // error of expected()
    for (int t = 0; t < 40; ++t) {
      for (int i = 0; i < heads * kHeadDim; ++i) {
        double& ours = want.out[t * heads * kHeadDim + i];
        const double theirs = golden[(i / kHeadDim * 40 + t) * kHeadDim + i % kHeadDim];
        worst = std::max(worst, std::fabs(ours - theirs));
        ours = theirs;
      }
    }
    CHECK(worst < 1e-12);
    check_both<Run>(device, scene.name(), scene, want);
  }
}

struct Heads {
  int heads, kv_heads;
};
// windows: around the borders of the kernels' blocks of keys. groups: for each size of a block of heads.
template <class Run>
void edges_and_groups(DeviceOf<Run>& device, const std::vector<int>& windows, const std::vector<Heads>& groups) {
  std::vector<Token> tokens = at_positions({0, 62, 63, 64, 65, 66, 127, 128, 129, 130, 300});
  add_prefill(tokens, 0, 2);
  add_prefill(tokens, 60, 67);    // over a page's edge
  add_prefill(tokens, 118, 138);  // two tiles
  for (const int window : windows)
    check_both<Run>(device, Scene({.heads = 8, .kv_heads = 1, .window = window}, tokens));
  std::vector<Token> few = at_positions({65, 128});
  add_prefill(few, 120, 136);
  for (const auto& [heads, kv_heads] : groups) {
    for (const int window : {0, 7}) {
      check_both<Run>(device, Scene({.heads = heads, .kv_heads = kv_heads, .window = window}, few));
    }
  }
}

template <class Run>
void many_keys(DeviceOf<Run>& device) {
  std::vector<Token> tokens = at_positions({255, 256, 511, 512, 1535});
  add_prefill(tokens, 1495, 1505);
  check_both<Run>(device, Scene({.heads = 4, .kv_heads = 1}, tokens));
  const Scene long_scene({.heads = 2, .kv_heads = 1}, at_positions({8191, 8300}));  // 32 splits; 5 pages in each
  check_both<Run>(device, "long " + long_scene.name(), long_scene, expected(long_scene));
}

template <class Run>
void single_in_any_step(DeviceOf<Run>& device) {
  std::vector<Token> tokens = at_positions({0, 200, 256, 700});
  add_prefill(tokens, 510, 514);
  for (const int window : {0, 128}) {
    const Scene scene({.heads = 4, .kv_heads = 2, .window = window}, tokens);
    Run run(device, scene);
    const std::vector<uint16_t> together = run.singles();
    CHECK_EQ(run.splits(), window == 0 ? 3 : 1);
    CHECK(run.singles() == together);
    for (const int more_splits : {2, 8}) CHECK(run.singles(more_splits) == together);
    const size_t row = 4 * kHeadDim;
    for (size_t t = 0; t < tokens.size(); ++t) {
      run.choose({int(t)});
      const std::vector<uint16_t> alone = run.singles();
      CHECK_EQ(alone.size(), row);
      CHECK(std::equal(alone.begin(), alone.end(), together.begin() + ptrdiff_t(t * row)));
    }
  }
}

template <class Run>
void decodes_and_prompts(DeviceOf<Run>& device) {
  std::vector<Token> tokens = at_positions({5, 300});
  add_prefill(tokens, 100, 119);
  tokens.push_back({3, 270});
  add_prefill(tokens, 0, 4);
  const Scene scene({.heads = 4, .kv_heads = 2}, tokens);
  Run run(device, scene);
  run.choose(scene.all(), true);
  const std::vector<uint16_t> out = run.both();
  check_within(str(device.name, " ", scene.name()), out, expected(scene));
  CHECK(run.both() == out);
}

template <class Run>
void shared_pages(DeviceOf<Run>& device) {
  std::vector<Token> tokens = {{0, 150}, {1, 170}, {2, 90}};
  for (int position = 129; position < 135; ++position) tokens.push_back({1, position});
  for (const KvGroup group : {kKvFull, kKvWindow}) {
    const int window = group == kKvFull ? 0 : 100;
    const Scene scene({.heads = 8, .kv_heads = 1, .window = window, .group = group}, tokens, 2);
    CHECK_EQ(scene.block_table()[1], scene.block_table()[scene.args.max_pages + 1]);
    check_both<Run>(device, scene);
  }
}

template <class Run>
void pages_behind_the_window(DeviceOf<Run>& device) {
  std::vector<Token> tokens = at_positions({190, 191, 192, 255, 256, 319});
  add_prefill(tokens, 250, 262);
  for (const int window : {1, 64, 65, 128}) {
    const Scene scene({.heads = 8, .kv_heads = 1, .window = window, .group = kKvWindow}, tokens);
    CHECK_EQ(scene.block_table()[3 * scene.args.max_pages], -1);
    check_both<Run>(device, scene);
  }
}

template <class Run>
void sinks_from_none_to_all(DeviceOf<Run>& device) {
  std::vector<Token> tokens = at_positions({0, 70, 300});
  add_prefill(tokens, 63, 66);
  Scene scene({.heads = 8, .kv_heads = 1}, tokens);
  scene.sinks = {-1e30, 0, 20, -20, -INFINITY, 1, 1000, 5};
  check_both<Run>(device, scene);

  // Scores of hundreds, so that softmax leaves one or two: float32 sums err by up to 64 · 2^-24 of them.
  for (double& value : scene.q) value *= 128;
  scene.sinks = {-1e30, 0, 20, 500, -1e30, 1, 1000, 5};
  Expected want = expected(scene);
  for (double& bound : want.bound) bound += 500 * 64 * 0x1p-24;
  check_both<Run>(device, "large scores " + scene.name(), scene, want);
}

template <class Run>
void equal_values_without_a_sink(DeviceOf<Run>& device) {
  std::vector<Token> tokens = at_positions({100, 300});
  add_prefill(tokens, 120, 131);
  Scene scene({.heads = 8, .kv_heads = 1}, tokens);
  for (std::vector<double>& values : scene.v) std::fill(values.begin(), values.end(), 1.0078125);
  for (const double none : {-1e30, -double(INFINITY)}) {
    std::fill(scene.sinks.begin(), scene.sinks.end(), none);
    Run run(device, scene);
    for (const std::vector<uint16_t>& out : {run.singles(), run.tiles()}) {
      CHECK(std::all_of(out.begin(), out.end(), [](uint16_t value) { return value == 0x3F81; }));
    }
  }
}

template <class Run>
void fp8_cache(DeviceOf<Run>& device) {
  std::vector<Token> tokens = at_positions({0, 64, 127, 300});
  add_prefill(tokens, 125, 141);
  for (const int window : {0, 128}) {
    check_both<Run>(device, Scene({.heads = 8, .kv_heads = 1, .window = window, .type = kKvFP8}, tokens));
  }
  check_both<Run>(device, Scene({.heads = 4, .kv_heads = 2, .type = kKvFP8}, at_positions({70, 600})));

  // Every number of the type, as the only value that a token sees.
  Scene every({.heads = 2, .kv_heads = 2, .type = kKvFP8}, at_positions({0, 0}));
  std::fill(every.sinks.begin(), every.sinks.end(), -1e30);
  std::vector<uint16_t> want;
  for (int s = 0; s < 2; ++s) {
    for (int i = 0; i < 2 * kHeadDim; ++i) {
      const int code = s * 128 + i;
      every.v[s][i] = (code & 127) == 127 ? 0 : e4m3_to_f32(uint8_t(code));
      want.push_back(f32_to_bf16(float(every.v[s][i])));
    }
  }
  Run run(device, every);
  const auto positive_zero = [](std::vector<uint16_t> values) {  // 0 + -0 = 0
    for (uint16_t& value : values) value = value == 0x8000 ? 0 : value;
    return values;
  };
  CHECK(positive_zero(run.singles()) == positive_zero(want));
  CHECK(positive_zero(run.tiles()) == positive_zero(want));
}

template <class Run>
void step_without_tokens(DeviceOf<Run>& device) {
  const Scene scene({.heads = 8, .kv_heads = 1}, at_positions({300, 5}));
  Run run(device, scene);
  run.choose({});
  CHECK(run.singles().empty());
  CHECK(run.singles(4).empty());
  CHECK(run.tiles().empty());
}

}  // namespace oss::test::attention
