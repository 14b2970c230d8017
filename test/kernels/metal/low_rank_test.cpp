#include "test/kernels/metal/low_rank.h"

#include "native/base/error.h"

namespace oss::test {
namespace {

struct Shape {
  int in, out, rank;
};

// Rows of x, the adapter of each, and results.
struct Rows {
  std::vector<float> x, x_low, before;
  std::vector<int> adapters;

  int size() const { return int(adapters.size()); }
};

std::vector<float> run(MetalDevice& device, const Shape& s, const std::vector<std::vector<Term>>& adapters, int number,
                       const Rows& rows) {
  const MetalStepAdapters on_device(device, adapters, rows.adapters, kMostLowRank, 0);
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

std::vector<float> row_of(const std::vector<float>& values, int row, int width) {
  return {values.begin() + ptrdiff_t(row) * width, values.begin() + ptrdiff_t(row + 1) * width};
}

Rows random_rows(const Shape& s, const std::vector<int>& adapters, bool has_low) {
  Rows rows;
  rows.adapters = adapters;
  rows.x = exact_values(adapters.size() * size_t(s.in), 21);
  // The rounding error of a bf16 value is at most 2^-9 of it.
  if (has_low) rows.x_low = exact_values(rows.x.size(), 22, 0x1p-9f);
  rows.before = exact_values(adapters.size() * size_t(s.out), 23);
  rows.before[0] = -0.0f;
  return rows;
}

}  // namespace

TEST("metal low_rank: any rank, rows with and without a term, alone and together") {
  for (const Shape& s : {Shape{64, 96, 1}, {96, 33, 3}, {128, 520, 16}, {2880, 32, 8}, {32, 7, 70}, {64, 140, 1024}}) {
    // Term 0 is another matrix. The third adapter leaves this one alone.
    const std::vector<std::vector<Term>> adapters = {{Term(32, 32, 2, 1), Term(s.in, s.out, s.rank, 5)},
                                                     {Term(), Term(s.in, s.out, std::min(1024, s.rank + 2), 9)},
                                                     {Term(32, 32, 2, 3), Term()}};
    for (const bool has_low : {false, true}) {
      const Rows rows = random_rows(s, {0, 0, -1, 1, 0, 2, 0, 1, 1, -1}, has_low);
      std::vector<double> expected(rows.before.begin(), rows.before.end()), x(rows.x.begin(), rows.x.end());
      for (size_t i = 0; i < rows.x_low.size(); ++i) x[i] += rows.x_low[i];
      for (int r = 0; r < rows.size(); ++r) {
        if (rows.adapters[size_t(r)] < 0) continue;
        adapters[size_t(rows.adapters[size_t(r)])][1].add(x.data() + size_t(r) * s.in,
                                                          expected.data() + size_t(r) * s.out);
      }
      for_each_metal_device([&](MetalDevice& device) {
        const std::string what = str(device.name, ": ", s.in, " to ", s.out, " by ", s.rank, has_low ? ", low" : "");
        const std::vector<float> together = run(device, s, adapters, 1, rows);
        // Two sums, one of them of the other. Of thousands of results, the worst can have twice the usual error.
        CHECK_CLOSE(what, together.data(), expected.data(), together.size(), 0,
                    2 * (sum_tolerance(s.in) + sum_tolerance(s.rank + 2)));
        for (int r = 0; r < rows.size(); ++r) {
          Rows one;
          one.adapters = {rows.adapters[size_t(r)]};
          one.x = row_of(rows.x, r, s.in);
          if (has_low) one.x_low = row_of(rows.x_low, r, s.in);
          one.before = row_of(rows.before, r, s.out);
          CHECK_BITS(str(what, ", row ", r, " alone"), run(device, s, adapters, 1, one), row_of(together, r, s.out));
          if (one.adapters[0] < 0 || one.adapters[0] == 2)
            CHECK_BITS(str(what, ", row ", r, " without a term"), row_of(together, r, s.out), one.before);
          else
            CHECK(row_of(together, r, s.out) != one.before);
        }
      });
    }
  }
}

TEST("metal low_rank: more rows than share the rank among threadgroups") {
  const Shape s = {64, 40, 11};
  const std::vector<std::vector<Term>> adapters = {{Term(s.in, s.out, s.rank, 5)}};
  const Rows rows = random_rows(s, std::vector<int>(70, 0), true);
  for_each_metal_device([&](MetalDevice& device) {
    const std::vector<float> together = run(device, s, adapters, 0, rows);
    for (const int r : {0, 33, 69}) {
      const Rows one = {row_of(rows.x, r, s.in), row_of(rows.x_low, r, s.in), row_of(rows.before, r, s.out), {0}};
      CHECK_BITS(str(device.name, ", row ", r), run(device, s, adapters, 0, one), row_of(together, r, s.out));
    }
  });
}

TEST("metal low_rank: adapters of separate rows run side by side, and each barrier is needed") {
  const Shape s = {64, 40, 3};
  const std::vector<std::vector<Term>> adapters = {{Term(s.in, s.out, s.rank, 5)}, {Term(s.in, s.out, s.rank, 7)}};
  for_each_metal_device([&](MetalDevice& device) {
    int64_t before = 0;
    const auto barriers = [&](const std::vector<int>& of_row) {
      run(device, s, adapters, 0, random_rows(s, of_row, false));
      return device.encoder.barriers() - std::exchange(before, device.encoder.barriers());
    };
    CHECK_EQ(barriers({0}), int64_t(1));
    CHECK_EQ(barriers({0, 0, -1, 1}), int64_t(1));
    CHECK_EQ(barriers({0, 1, 0, 1}), int64_t(2));  // ranges of rows that overlap
    CHECK_EQ(barriers({-1}), int64_t(0));
    for (const int missing : {1, 2}) {
      if (!drop_metal_barrier(missing)) return;
      CHECK_THROWS(Code::kDevice, "a barrier is missing",
                   run(device, s, adapters, 0, random_rows(s, {0, 1, 0, 1}, false)));
    }
  });
}

TEST("metal low_rank: refuses rows that no load of 16 bytes divides") {
  for_each_metal_device([](MetalDevice& device) {
    const Shape s = {12, 8, 1};
    CHECK_THROWS(Code::kInternal, "16 bytes", run(device, s, {{Term(12, 8, 1, 1)}}, 0, random_rows(s, {0}, false)));
  });
}

}  // namespace oss::test
