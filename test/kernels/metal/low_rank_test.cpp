#include "test/kernels/metal/low_rank.h"

#include <utility>

#include "native/base/error.h"
#include "test/kernels/gpu/low_rank_problem.h"

namespace oss::test {
namespace {

std::vector<float> run(MetalDevice& device, const LowRankShape& s, const std::vector<std::vector<Term>>& terms,
                       int number, const LowRankRows& rows) {
  StepAdapters adapters = {terms, {}};
  for (int r = 0; r < rows.size(); ++r) adapters.of_token.push_back(rows.adapter(r));
  const MetalStepAdapters on_device(device, adapters, kMostLowRank, 0);
  const MetalArray<uint16_t> x(device, to_bf16(rows.x)), x_low(device, to_bf16(rows.x_low));
  const MetalArray<float> y(device, rows.before.size() + size_t(s.out));
  std::ranges::copy(rows.before, y.data());
  metal::low_rank(device.encoder, {.rows = rows.size(), .in = s.in, .out = s.out, .number = number}, on_device.step(),
                  x.data(), rows.x_low.empty() ? nullptr : x_low.data(), y.data());
  std::vector<float> out = y.read();
  for (size_t i = rows.before.size(); i < out.size(); ++i) {
    if (!is_poison(out[i])) fail(__FILE__, __LINE__, str(device.name, ": wrote past the rows, at ", i));
  }
  out.resize(rows.before.size());
  return out;
}

}  // namespace

TEST("metal low_rank: any rank, rows with and without a term, alone and together") {
  for (const LowRankShape& s :
       {LowRankShape{64, 96, 1}, {96, 33, 3}, {128, 520, 16}, {2880, 32, 8}, {32, 7, 70}, {64, 140, 1024}}) {
    for (const bool has_low : {false, true}) {
      const LowRankRows rows(s, {0, 0, -1, 1, 0, 2, 0, 1, 1, -1}, has_low);
      for_each_metal_device([&](MetalDevice& device) {
        const std::string what = str(device.name, ": ", s.in, " to ", s.out, " by ", s.rank, has_low ? ", low" : "");
        // Two sums, one of them of the other. Of thousands of results, the worst can have twice the usual error.
        const double tolerance = 2 * (sum_tolerance(s.in) + sum_tolerance(s.rank + 2));
        check_low_rank(what, s, rows, tolerance,
                       [&](const auto& terms, const LowRankRows& of) { return run(device, s, terms, 1, of); });
      });
    }
  }
}

TEST("metal low_rank: more rows than share the rank among threadgroups") {
  const LowRankShape s = {64, 40, 11};
  const std::vector<std::vector<Term>> terms = {{Term(s.in, s.out, s.rank, 5)}};
  const LowRankRows rows(s, std::vector<int>(70, 0), true);
  for_each_metal_device([&](MetalDevice& device) {
    const std::vector<float> together = run(device, s, terms, 0, rows);
    for (const int r : {0, 33, 69}) {
      CHECK_BITS(str(device.name, ", row ", r), run(device, s, terms, 0, rows.alone(s, r)),
                 rows_of(together, s.out, r, 1));
    }
  });
}

TEST("metal low_rank: adapters of separate rows run side by side, and each barrier is needed") {
  const LowRankShape s = {64, 40, 3};
  const std::vector<std::vector<Term>> terms = {{Term(s.in, s.out, s.rank, 5)}, {Term(s.in, s.out, s.rank, 7)}};
  for_each_metal_device([&](MetalDevice& device) {
    int64_t before = 0;
    const auto barriers = [&](const std::vector<int>& of_row) {
      run(device, s, terms, 0, LowRankRows(s, of_row, false));
      return device.encoder.barriers() - std::exchange(before, device.encoder.barriers());
    };
    CHECK_EQ(barriers({0}), int64_t(1));
    CHECK_EQ(barriers({0, 0, -1, 1}), int64_t(1));
    CHECK_EQ(barriers({0, 1, 0, 1}), int64_t(2));  // ranges of rows that overlap
    CHECK_EQ(barriers({-1}), int64_t(0));
    for (const int missing : {1, 2}) {
      if (!drop_metal_barrier(missing)) return;
      CHECK_THROWS(Code::kDevice, "a barrier is missing",
                   run(device, s, terms, 0, LowRankRows(s, {0, 1, 0, 1}, false)));
    }
  });
}

TEST("metal low_rank: refuses rows that no load of 16 bytes divides") {
  for_each_metal_device([](MetalDevice& device) {
    const LowRankShape s = {12, 8, 1};
    CHECK_THROWS(Code::kInternal, "16 bytes", run(device, s, {{Term(12, 8, 1, 1)}}, 0, LowRankRows(s, {0}, false)));
  });
}

}  // namespace oss::test
