#include "test/kernels/cuda/support.h"
#include "test/kernels/gpu/attention_tests.h"

namespace oss::test::attention {
namespace {

struct Cuda {
  using Device = CudaDevice;
  template <typename T>
  using Array = DeviceArray<T>;
  using Tile = cuda::AttentionTile;
  static constexpr int kTile = cuda::kAttentionTile;
  template <typename T>
  static void write(DeviceArray<T>& to, const std::vector<T>& values) {
    to.write(values);
  }
};

// Grids have the size of the capacity. The kernels read the sizes of the step from its counts.
class Run : public RunOn<Cuda> {
 public:
  Run(CudaDevice& device, const Scene& scene)
      : RunOn(device, scene),
        counts_(device, 1),
        scratch_(device, cuda::attention_scratch_bytes(int64_t(capacity_), scene.args.heads) / 4),
        counters_(device, std::vector<int32_t>(capacity_ * scene.args.kv_heads, 0)) {}

  std::vector<uint16_t> singles(int more_splits = 0) {
    return launch([&](uint16_t* out) { launch_split(more_splits, out); });
  }
  std::vector<uint16_t> tiles() {
    return launch([&](uint16_t* out) { launch_tiles(out); });
  }
  std::vector<uint16_t> both() {
    return launch([&](uint16_t* out) {
      launch_split(0, out);
      launch_tiles(out);
    });
  }
  int splits() const {
    int most = 1;
    for (const int position : chosen_) most = std::max(most, cuda::visible_pages(position, scene_.args.window).splits);
    return most;
  }

 private:
  template <class Launches>
  std::vector<uint16_t> launch(const Launches& launches) {
    const cuda::StepCounts counts{.tokens = num_tokens_,
                                  .sequences = scene_.num_sequences(),
                                  .rows = 0,
                                  .tiles = num_tiles_,
                                  .singles = num_singles_};
    counts_.write(std::span(&counts, 1));
    const DeviceArray<uint16_t> out(device_, capacity_ * row_);
    launches(out.data());
    return results(out);
  }
  void launch_split(int more_splits, uint16_t* out) {
    const int grid = splits() + more_splits;  // a step of one split needs no scratch
    device_.check(
        device_.module.attention_split(args(int(capacity_)), step(), grid, q_.data(), cache_.data(), sinks_.data(),
                                       grid == 1 ? nullptr : scratch_.data(), counters_.data(), out, device_.stream),
        "attention_split");
  }
  void launch_tiles(uint16_t* out) {
    device_.check(device_.module.attention_tiles(args(int(capacity_)), step(), int(capacity_), q_.data(), cache_.data(),
                                                 sinks_.data(), out, device_.stream),
                  "attention_tiles");
  }
  cuda::DeviceStep step() const {
    cuda::DeviceStep step{};
    describe(step);
    step.counts = counts_.data();
    step.tiles = tiles_.data();
    step.singles = singles_.data();
    return step;
  }

  DeviceArray<cuda::StepCounts> counts_;
  DeviceArray<float> scratch_;
  DeviceArray<int32_t> counters_;
};

TEST("cuda attention: golden sinks and windows") { for_each_cuda_device(golden_sinks_and_windows<Run>); }

// A multiplication has 8 keys, and rows for 16 heads.
TEST("cuda attention: page and window edges, groups of 1 to 16 heads, several sequences") {
  for_each_cuda_device([](CudaDevice& device) {
    edges_and_groups<Run>(device, {0, 6, 7, 8, 127, 128, 129},
                          {{1, 1}, {2, 2}, {4, 2}, {6, 2}, {4, 1}, {16, 2}, {16, 1}});
  });
}

TEST("cuda attention: many keys in several splits") {
  CHECK_EQ(cuda::visible_pages(8300, 0).split_pages, 5);
  for_each_cuda_device(many_keys<Run>);
}

TEST("cuda attention: a token's split result does not depend on its step") {
  for_each_cuda_device(single_in_any_step<Run>);
}

TEST("cuda attention: decodes and prompts of one step, each by its own kernel") {
  for_each_cuda_device(decodes_and_prompts<Run>);
}

TEST("cuda attention: sequences that share pages, in either group") { for_each_cuda_device(shared_pages<Run>); }

TEST("cuda attention: the window and the pages behind it") { for_each_cuda_device(pages_behind_the_window<Run>); }

TEST("cuda attention: sinks from none to all") { for_each_cuda_device(sinks_from_none_to_all<Run>); }

TEST("cuda attention: without a sink, equal values are returned unchanged") {
  for_each_cuda_device(equal_values_without_a_sink<Run>);
}

TEST("cuda attention: an fp8 cache is as exact as its values") { for_each_cuda_device(fp8_cache<Run>); }

TEST("cuda attention: a step without tokens writes nothing") { for_each_cuda_device(step_without_tokens<Run>); }

}  // namespace
}  // namespace oss::test::attention
