// Terms of several adapters added to the results of one matrix: the rows, the sums in double, the comparison.
#pragma once
#include <algorithm>
#include <string>
#include <vector>

#include "test/kernels/gpu/values.h"
#include "test/kernels/term.h"

namespace oss::test {

struct LowRankShape {
  int in, out, rank;

  // Of three adapters, by number. Number 0 is another matrix. The third adapter leaves number 1 alone.
  std::vector<std::vector<Term>> terms() const {
    return {{Term(32, 32, 2, 1), Term(in, out, rank, 5)},
            {Term(), Term(in, out, std::min(1024, rank + 2), 9)},
            {Term(32, 32, 2, 3), Term()}};
  }
};

// Rows of x, the adapter of each row's token, and results.
struct LowRankRows {
  std::vector<float> x, x_low, before;
  std::vector<int> adapters;
  std::vector<int32_t> token_of_row;  // empty: rows are tokens

  LowRankRows(const LowRankShape& s, const std::vector<int>& of_token, bool has_low,
              const std::vector<int32_t>& tokens = {})
      : adapters(of_token), token_of_row(tokens) {
    x = exact_values(size_t(size()) * s.in, 21);
    // The rounding error of a bf16 value is at most 2^-9 of it.
    if (has_low) x_low = exact_values(x.size(), 22, 0x1p-9f);
    before = exact_values(size_t(size()) * s.out, 23);
    before[0] = -0.0f;
  }
  int size() const { return int(token_of_row.empty() ? adapters.size() : token_of_row.size()); }
  int token(int row) const { return token_of_row.empty() ? row : token_of_row[size_t(row)]; }
  int adapter(int row) const { return adapters[size_t(token(row))]; }
  LowRankRows alone(const LowRankShape& s, int row) const {
    LowRankRows one = *this;
    one.token_of_row = {token(row)};
    one.x = rows_of(x, s.in, row, 1);
    if (!x_low.empty()) one.x_low = rows_of(x_low, s.in, row, 1);
    one.before = rows_of(before, s.out, row, 1);
    return one;
  }
};

// Rows with and without terms number 1, together and each one alone. run(terms, rows): the results on a device.
template <typename Run>
void check_low_rank(const std::string& what, const LowRankShape& s, const LowRankRows& rows, double tolerance,
                    const Run& run) {
  const std::vector<std::vector<Term>> terms = s.terms();
  const auto term = [&](int row) { return rows.adapter(row) < 0 ? Term() : terms[size_t(rows.adapter(row))][1]; };
  std::vector<double> expected(rows.before.begin(), rows.before.end()), x(rows.x.begin(), rows.x.end());
  for (size_t i = 0; i < rows.x_low.size(); ++i) x[i] += rows.x_low[i];
  for (int r = 0; r < rows.size(); ++r) term(r).add(x.data() + size_t(r) * s.in, expected.data() + size_t(r) * s.out);
  const std::vector<float> together = run(terms, rows);
  CHECK_CLOSE(what, together.data(), expected.data(), expected.size(), 0, tolerance);
  for (int r = 0; r < rows.size(); ++r) {
    const LowRankRows one = rows.alone(s, r);
    const std::vector<float> row = rows_of(together, s.out, r, 1);
    CHECK_BITS(str(what, ", row ", r, " alone"), run(terms, one), row);
    if (term(r).rank == 0)
      CHECK_BITS(str(what, ", row ", r, " without a term"), row, one.before);
    else
      CHECK(row != one.before);
  }
}

}  // namespace oss::test
