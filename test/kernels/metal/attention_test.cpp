#include "kernels/metal/attention.h"

#include "test/kernels/gpu/attention_tests.h"
#include "test/kernels/metal/support.h"

namespace oss::test::attention {
namespace {

struct Metal {
  using Device = MetalDevice;
  template <typename T>
  using Array = MetalArray<T>;
  using Tile = AttentionTile;
  static constexpr int kTile = kAttentionTile;
  template <typename T>
  static void write(MetalArray<T>& to, const std::vector<T>& values) {
    std::copy(values.begin(), values.end(), to.data());
  }
};

class Run : public RunOn<Metal> {
 public:
  Run(MetalDevice& device, const Scene& scene)
      : RunOn(device, scene), scratch_(device, metal::attention_scratch_bytes(int(capacity_), scene.args.heads) / 4) {}

  std::vector<uint16_t> singles(int more_splits = 0) { return launch(num_singles_, 0, more_splits); }
  std::vector<uint16_t> tiles() { return launch(0, num_tiles_, 0); }
  std::vector<uint16_t> both() { return launch(num_singles_, num_tiles_, 0); }
  int splits() const { return most_splits(most_keys(), scene_.args.window); }

 private:
  int most_keys() const {
    int most = 0;
    for (const int position : chosen_) most = std::max(most, position + 1);
    return most;
  }
  std::vector<uint16_t> launch(int singles, int tiles, int more_splits) {
    const MetalArray<uint16_t> out(device_, capacity_ * row_);
    std::memset(scratch_.data(), 0xCD, scratch_.bytes());
    metal::StepArrays step;
    describe(step);
    step.tokens = num_tokens_;
    step.sequences = scene_.num_sequences();
    step.tiles = tiles;
    step.singles = singles;
    step.tile = tiles_.data();
    step.single = singles_.data();
    step.most_keys = most_keys() + more_splits * kMinSplitPages * kPageTokens;
    metal::attention(device_.encoder, args(num_tokens_), step, q_.data(), {cache_.data(), cache_.bytes()},
                     sinks_.data(), scratch_.data(), out.data());
    return results(out);
  }

  MetalArray<float> scratch_;
};

TEST("metal attention: golden sinks and windows") { for_each_metal_device(golden_sinks_and_windows<Run>); }

// The kernel for tiles takes 32 keys at a time, the one for singles 8 heads.
TEST("metal attention: page and window edges, groups of 1 to 16 heads, several sequences") {
  for_each_metal_device([](MetalDevice& device) {
    edges_and_groups<Run>(device, {0, 7, 32, 33, 128, 129},
                          {{1, 1}, {2, 2}, {4, 2}, {6, 2}, {4, 1}, {9, 1}, {24, 2}, {16, 1}});
  });
}

TEST("metal attention: many keys in several splits") {
  CHECK_EQ(visible_pages(8300, 0).split_pages, 5);
  for_each_metal_device(many_keys<Run>);
}

TEST("metal attention: the result of a single does not depend on its step") {
  for_each_metal_device(single_in_any_step<Run>);
}

TEST("metal attention: decodes and prompts of one step, each by its own kernel") {
  for_each_metal_device(decodes_and_prompts<Run>);
}

TEST("metal attention: sequences that share pages, in either group") { for_each_metal_device(shared_pages<Run>); }

TEST("metal attention: the window and the pages behind it") { for_each_metal_device(pages_behind_the_window<Run>); }

TEST("metal attention: sinks from none to all") { for_each_metal_device(sinks_from_none_to_all<Run>); }

TEST("metal attention: without a sink, equal values are returned unchanged") {
  for_each_metal_device(equal_values_without_a_sink<Run>);
}

TEST("metal attention: an fp8 cache is as exact as its values") { for_each_metal_device(fp8_cache<Run>); }

TEST("metal attention: the shapes of the released models") {
  std::vector<Token> tokens = at_positions({40, 283});
  add_prefill(tokens, 125, 142);
  for_each_metal_device([&](MetalDevice& device) {
    for (const auto& [window, type] : {std::pair(0, kKvFP8), {128, kKvBF16}}) {
      const Scene scene({.heads = 64, .kv_heads = 8, .window = window, .type = type}, tokens);
      Run run(device, scene);
      run.choose(scene.all(), true);
      check_within(str(device.name, " ", scene.name()), run.both(), expected(scene));
    }
  });
}

TEST("metal attention: the splits of a grid suffice for every token of its step") {
  for (const int window : {0, 1, 2, 63, 64, 65, 66, 128, 129, 255, 256, 257, 258, 1000, 4096}) {
    int most = 0;
    for (int position = 0; position < 20000; ++position) {
      const VisiblePages visible = visible_pages(position, window);
      most = std::max(most, visible.splits);
      CHECK(most_splits(position + 1, window) >= most);
      CHECK(visible.splits <= kMaxSplits && visible.splits * visible.split_pages >= visible.count &&
            (visible.splits - 1) * visible.split_pages < visible.count);
    }
    CHECK_EQ(most_splits(20000, window), most);
  }
}

TEST("metal attention: only the merge of parts waits") {
  std::vector<Token> tokens = at_positions({300});
  add_prefill(tokens, 0, 1);
  for_each_metal_device([&](MetalDevice& device) {
    for (const int window : {0, 128}) {
      const Scene scene({.heads = 2, .kv_heads = 1, .window = window}, tokens);
      Run run(device, scene);
      run.choose({0, 1, 2}, true);
      const int64_t dispatches = device.encoder.dispatches(), barriers = device.encoder.barriers();
      check_within(str(device.name, " ", scene.name()), run.both(), expected(scene));
      CHECK_EQ(device.encoder.dispatches() - dispatches, window == 0 ? 3 : 2);
      CHECK_EQ(device.encoder.barriers() - barriers, 1);
      run.singles();
      CHECK_EQ(device.encoder.barriers() - barriers, window == 0 ? 2 : 1);
    }
  });
}

TEST("metal attention: shapes without a kernel are refused") {
  for_each_metal_device([&](MetalDevice& device) {
    const Scene scene({.heads = 8, .kv_heads = 1}, at_positions({3}));
    for (const int change : {0, 1, 2}) {
      AttentionArgs args = scene.args;
      if (change == 0) args.type = kKvF32;
      if (change == 1) args.head_dim = 32;
      if (change == 2) args.heads = 17;
      CHECK_THROWS(Code::kInternal, "no Metal kernel",
                   metal::attention(device.encoder, args, {}, nullptr, {}, nullptr, nullptr, nullptr));
    }
    CHECK_EQ(device.encoder.dispatches(), 0);
  });
}

TEST("metal attention: a step without tokens writes nothing") { for_each_metal_device(step_without_tokens<Run>); }

}  // namespace
}  // namespace oss::test::attention
