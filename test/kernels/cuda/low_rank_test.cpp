#include "test/kernels/cuda/low_rank.h"

namespace oss::test {
namespace {

struct Shape {
  int in, out, rank;
};

// Rows of x, the adapter of each row's token, and results.
struct Rows {
  std::vector<float> x, x_low, before;
  std::vector<int> adapters;
  std::vector<int32_t> token_of_row;  // empty: rows are tokens

  int size() const { return int(token_of_row.empty() ? adapters.size() : token_of_row.size()); }
  int adapter(int row) const { return adapters[token_of_row.empty() ? size_t(row) : size_t(token_of_row[row])]; }
};

std::vector<float> run(CudaDevice& device, const Shape& s, const std::vector<std::vector<Term>>& adapters, int number,
                       const Rows& rows, int capacity) {
  const DeviceAdapters on_device(device, adapters, rows.adapters, size_t(capacity));
  const auto with_room = [&]<typename T>(const std::vector<T>& values, int width) {
    auto array = std::make_unique<DeviceArray<T>>(device, size_t(capacity) * width);
    array->write(values);
    return array;
  };
  const auto x = with_room(to_bf16(rows.x), s.in), x_low = with_room(to_bf16(rows.x_low), s.in);
  const auto token_of_row = with_room(rows.token_of_row, 1);
  const auto y = with_room(rows.before, s.out);
  const DeviceArray<int32_t> count(device, std::vector<int32_t>{rows.size()});
  device.check(
      device.module.low_rank({.rows = capacity, .in = s.in, .out = s.out, .number = number}, on_device.step(),
                             count.data(), rows.token_of_row.empty() ? nullptr : token_of_row->data(), x->data(),
                             rows.x_low.empty() ? nullptr : x_low->data(), y->data(), device.stream),
      "low_rank");
  std::vector<float> out = y->read();
  for (size_t i = size_t(rows.size()) * s.out; i < out.size(); ++i) {
    if (!is_poison(out[i])) fail(__FILE__, __LINE__, str(device.name, ": wrote past the rows, at ", i));
  }
  out.resize(size_t(rows.size()) * s.out);
  return out;
}

std::vector<float> row_of(const std::vector<float>& values, int row, int width) {
  return {values.begin() + ptrdiff_t(row) * width, values.begin() + ptrdiff_t(row + 1) * width};
}

}  // namespace

TEST("cuda low_rank: any rank, rows with and without a term, of tokens and of logits, alone and together") {
  for (const Shape& s : {Shape{64, 96, 1}, {96, 33, 3}, {128, 520, 16}, {2880, 32, 8}, {32, 7, 70}, {64, 300, 1024}}) {
    // Term 0 is another matrix. The third adapter leaves this one alone.
    const std::vector<std::vector<Term>> adapters = {{Term(32, 32, 2, 1), Term(s.in, s.out, s.rank, 5)},
                                                     {Term(), Term(s.in, s.out, std::min(1024, s.rank + 2), 9)},
                                                     {Term(32, 32, 2, 3), Term()}};
    Rows rows;
    rows.adapters = {0, 0, -1, 1, 0, 2, 0, 1, 1, -1};
    for (const bool of_logits : {false, true}) {
      if (of_logits) rows.token_of_row = {3, 2, 9, 0, 5, 8};
      rows.x = exact_values(size_t(rows.size()) * s.in, 21);
      // The rounding error of a bf16 value is at most 2^-9 of it.
      if (of_logits) rows.x_low = exact_values(size_t(rows.size()) * s.in, 22, 0x1p-9f);
      rows.before = exact_values(size_t(rows.size()) * s.out, 23);
      std::vector<double> expected(rows.before.begin(), rows.before.end()), x(rows.x.begin(), rows.x.end());
      for (size_t i = 0; i < rows.x_low.size(); ++i) x[i] += rows.x_low[i];
      for (int r = 0; r < rows.size(); ++r) {
        if (rows.adapter(r) < 0) continue;
        adapters[size_t(rows.adapter(r))][1].add(x.data() + size_t(r) * s.in, expected.data() + size_t(r) * s.out);
      }
      for_each_cuda_device([&](CudaDevice& device) {
        const std::string what =
            str(device.name, ": ", s.in, " to ", s.out, " by ", s.rank, of_logits ? ", logits" : "");
        const std::vector<float> together = run(device, s, adapters, 1, rows, rows.size());
        CHECK_CLOSE(what, together.data(), expected.data(), together.size(), 0, matrix_tolerance(s.in + s.rank));
        CHECK(run(device, s, adapters, 1, rows, 70) == together);  // other grids
        for (int r = 0; r < rows.size(); ++r) {
          Rows one;
          one.adapters = rows.adapters;
          one.token_of_row = {of_logits ? rows.token_of_row[size_t(r)] : r};
          one.x = row_of(rows.x, r, s.in);
          if (of_logits) one.x_low = row_of(rows.x_low, r, s.in);
          one.before = row_of(rows.before, r, s.out);
          CHECK(run(device, s, adapters, 1, one, 10) == row_of(together, r, s.out));
          const bool has_term = rows.adapter(r) >= 0 && rows.adapter(r) != 2;
          CHECK_EQ(row_of(together, r, s.out) != one.before, has_term);
        }
      });
    }
  }
}

TEST("cuda low_rank: refuses rows that no load of 16 bytes divides") {
  for_each_cuda_device([](CudaDevice& device) {
    CHECK(device.module.low_rank({.rows = 1, .in = 12, .out = 8, .number = 0}, {}, nullptr, nullptr, nullptr, nullptr,
                                 nullptr, device.stream) != 0);
  });
}

}  // namespace oss::test
