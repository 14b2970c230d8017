// The product of a matrix on a GPU: inputs, the reference in double, the comparisons.
#pragma once
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "test/kernels/gpu/values.h"

namespace oss::test {

struct LinearProblem {
  int rows, in, out;
  bool accumulate = false, biased = true;
  bool paired = false;  // with x_low
};

struct LinearOperands {
  std::vector<float> x, x_low, w, bias, y;

  LinearOperands(const LinearProblem& p, std::vector<float> weights)
      : x(exact_values(size_t(p.rows) * p.in, 1)),
        x_low(exact_values(x.size(), 5, 0x1p-9f)),
        w(std::move(weights)),
        bias(exact_values(p.out, 3)),
        y(exact_values(size_t(p.rows) * p.out, 4)) {}
  explicit LinearOperands(const LinearProblem& p) : LinearOperands(p, exact_values(size_t(p.out) * p.in, 2)) {}

  // The rows [first, first + count).
  LinearOperands part(const LinearProblem& p, int first, int count) const {
    LinearOperands out = *this;
    out.x = rows_of(x, p.in, first, count);
    out.x_low = rows_of(x_low, p.in, first, count);
    out.y = rows_of(y, p.out, first, count);
    return out;
  }
};

// Rows of `actual` past those of the problem must keep their poison.
inline void check_linear(const std::string& device, const LinearProblem& p, const LinearOperands& operands,
                         const std::vector<float>& actual, double tolerance) {
  const std::string what =
      str(device, ": rows ", p.rows, ", in ", p.in, ", out ", p.out, p.accumulate ? ", accumulate" : "",
          p.biased ? "" : ", no bias", p.paired ? ", paired" : "");
  std::vector<double> expected;
  for (int r = 0; r < p.rows; ++r) {
    for (int o = 0; o < p.out; ++o) {
      double sum = p.accumulate ? operands.y[size_t(r) * p.out + o] : 0;
      if (p.biased) sum += operands.bias[o];
      const float *x = &operands.x[size_t(r) * p.in], *low = &operands.x_low[size_t(r) * p.in];
      const float* w = &operands.w[size_t(o) * p.in];
      for (int k = 0; k < p.in; ++k) sum += (double(x[k]) + (p.paired ? low[k] : 0)) * w[k];
      expected.push_back(sum);
    }
  }
  CHECK_CLOSE(what, actual.data(), expected.data(), expected.size(), 0, tolerance);
  for (size_t i = expected.size(); i < actual.size(); ++i) {
    if (!is_poison(actual[i])) return fail(__FILE__, __LINE__, str(what, ": wrote past the rows, at ", i));
  }
}

// The rows [first, first + count) alone must have the bits that they have among all rows.
inline void check_linear_part(const std::string& what, const LinearProblem& p, int first, int count,
                              const std::vector<float>& actual, const std::vector<float>& of_all) {
  CHECK_BITS(str(what, ": rows ", first, " + ", count, ", in ", p.in), rows_of(actual, p.out, 0, count),
             rows_of(of_all, p.out, first, count));
}

}  // namespace oss::test
