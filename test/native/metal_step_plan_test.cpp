// The dispatches of a step at the shapes of the released models: which kernels, how many threads, and which bytes.
#include <algorithm>
#include <numeric>

#include "native/backend/metal/step_plan.h"
#include "test/native/check.h"

namespace oss::test {
namespace {

using metal::PlannedKernel;
using metal::PlannedStep;

std::vector<PlannedKernel> plan(int layers, int experts, const PlannedStep& step,
                                DenseWeights dense = DenseWeights::kBF16) {
  const StepLimits limits{.hidden = 2880,
                          .intermediate = 2880,
                          .heads = 64,
                          .kv_heads = 8,
                          .head_dim = 64,
                          .experts = experts,
                          .top_k = 4,
                          .vocab = 201088};
  std::vector<int> windows;
  for (int layer = 0; layer < layers; ++layer) windows.push_back(layer % 2 == 0 ? 128 : 0);
  return metal::plan_step(limits, windows, dense, kKvBF16, step);
}

uint64_t weights_of(const std::vector<PlannedKernel>& kernels) {
  return std::accumulate(kernels.begin(), kernels.end(), uint64_t(0),
                         [](uint64_t sum, const PlannedKernel& one) { return sum + one.weight_bytes; });
}

// What a token must read at least: dense weights and head once, and of the experts those that are chosen.
uint64_t least_weights(uint64_t layers, uint64_t chosen, uint64_t dense_numerator, uint64_t dense_denominator) {
  const uint64_t hidden = 2880, dense = hidden * 5120 + 4096 * hidden, expert = 3 * hidden * hidden;
  return (layers * dense + 201088 * hidden) * dense_numerator / dense_denominator + layers * chosen * expert * 17 / 32;
}

struct Row {
  const char* kernel;
  int dispatches;
  metal::Groups groups;
  uint32_t threads;
};

void check_rows(const std::vector<PlannedKernel>& kernels, const std::vector<Row>& rows) {
  for (const Row& row : rows) {
    const auto found = std::ranges::find(kernels, std::string(row.kernel), &PlannedKernel::kernel);
    if (found == kernels.end()) {
      fail(__FILE__, __LINE__, str("no ", row.kernel));
      continue;
    }
    CHECK_EQ(found->dispatches, row.dispatches);
    CHECK(found->groups == row.groups);
    CHECK_EQ(found->threads, row.threads);
  }
}

}  // namespace

TEST("metal step_plan: a token of the 20b and of the 120b") {
  const auto small = plan(24, 32, {.tokens = 1, .sequences = 1, .keys = 2048});
  check_rows(small, {{"embed", 1, {1, 1, 1}, 256},
                     {"rms_norm", 25, {1, 1, 1}, 256},
                     {"qkv_rows_1", 24, {16, 80, 1}, 128},
                     {"attention_single_bf16", 24, {1, 8, 1}, 256},
                     {"attention_merge", 12, {1, 8, 1}, 256},
                     {"linear_rows_1", 24, {720, 1, 1}, 128},
                     {"norm_router", 24, {1, 1, 1}, 1024},
                     {"linear_rows_1_low", 1, {50272, 1, 1}, 128},
                     {"experts_gate_up", 24, {4, 360, 1}, 128},
                     {"experts_down", 24, {1, 360, 1}, 128},
                     {"sample_choose", 1, {1, 1, 1}, 256}});
  const double least = double(least_weights(24, 4, 2, 1));
  CHECK(double(weights_of(small)) > least);
  CHECK(double(weights_of(small)) < 1.01 * least);

  const auto large = plan(36, 128, {.tokens = 1, .sequences = 1, .keys = 2048});
  check_rows(large, {{"qkv_rows_1", 36, {16, 80, 1}, 128}, {"norm_router", 36, {1, 1, 1}, 1024}});
  CHECK(double(weights_of(large)) > double(least_weights(36, 4, 2, 1)));
  CHECK(double(weights_of(large)) < 1.01 * double(least_weights(36, 4, 2, 1)));
}

TEST("metal step_plan: weights in q8 take 34 bytes for 32, the router and the experts stay") {
  const auto kernels = plan(24, 32, {.tokens = 1, .sequences = 1, .keys = 2048}, DenseWeights::kQ8);
  check_rows(kernels, {{"qkv_rows_1_q8", 24, {16, 80, 1}, 128}, {"norm_router", 24, {1, 1, 1}, 1024}});
  const double least = double(least_weights(24, 4, 34, 32));
  CHECK(double(weights_of(kernels)) > least);
  CHECK(double(weights_of(kernels)) < 1.01 * least);
}

TEST("metal step_plan: eight sequences share dense weights, and a prompt has tiles") {
  const auto eight = plan(24, 32, {.tokens = 1, .sequences = 8, .keys = 2048});
  check_rows(eight, {{"qkv_rows_8", 24, {8, 80, 1}, 128}, {"attention_single_bf16", 24, {8, 8, 1}, 256}});
  CHECK(double(weights_of(eight)) < 1.01 * double(least_weights(24, 32, 2, 1)));
  const auto prompt = plan(24, 32, {.tokens = 512, .sequences = 1, .keys = 0});
  check_rows(prompt, {{"qkv_tiles_32", 24, {16, 80, 1}, 128},
                      {"attention_tile_bf16", 24, {32, 8, 1}, 256},
                      {"linear_tiles_32", 24, {16, 45, 1}, 128},
                      {"experts_sort", 24, {32, 1, 1}, 256},
                      {"experts_gate_up_64", 24, {90, 64, 1}, 128},
                      {"experts_combine", 24, {6, 512, 1}, 128},
                      {"linear_rows_1_low", 1, {50272, 1, 1}, 128}});
}

TEST("metal step_plan: the longer the context, the more keys are read, except behind the window") {
  const auto keys = [](int count) {
    const auto kernels = plan(24, 32, {.tokens = 1, .sequences = 1, .keys = count - 1});
    const auto found = std::ranges::find(kernels, std::string("attention_single_bf16"), &PlannedKernel::kernel);
    return found->bytes;
  };
  // 12 layers with all keys, each of 2 KB.
  CHECK_EQ(keys(9000) - keys(8999), uint64_t(12 * 2 * 8 * 64 * 2));
}

}  // namespace oss::test
