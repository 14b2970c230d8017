// The products with weights in bf16 and in Q8.
#include <algorithm>
#include <cmath>
#include <tuple>

#include "test/kernels/gpu/linear_problem.h"
#include "test/kernels/metal/q8.h"

namespace oss::test {
namespace {

// Of thousands of results, the worst can have twice the usual error.
double tolerance_of(const LinearProblem& p) { return 2 * sum_tolerance(p.in * (p.paired ? 2 : 1)); }

// Weights are aligned to 8 bytes, not to more.
class BF16Weights {
 public:
  BF16Weights(MetalDevice& device, const LinearProblem&, const LinearOperands& operands)
      : there_(device, shifted(operands.w)) {}
  metal::Rows rows() const { return there_.data() + 4; }
  static LinearOperands operands(const LinearProblem& p) { return LinearOperands(p); }
  static double tolerance(const LinearProblem& p) { return tolerance_of(p); }

 private:
  static std::vector<uint16_t> shifted(std::vector<float> w) {
    w.insert(w.begin(), 4, NAN);
    return to_bf16(w);
  }
  const MetalArray<uint16_t> there_;
};

class Q8Weights {
 public:
  Q8Weights(MetalDevice& device, const LinearProblem& p, const LinearOperands&) : there_(device, values(p)) {}
  metal::Rows rows() const { return there_.rows(); }
  static LinearOperands operands(const LinearProblem& p) { return {p, values(p).values()}; }
  // Scaling rounds once more for every four columns.
  static double tolerance(const LinearProblem& p) { return tolerance_of(p) * std::sqrt(1.25); }

 private:
  static Q8Values values(const LinearProblem& p) { return {p.out, p.in, 2}; }
  const Q8Array there_;
};

// y [rows + 1, out]; the last row keeps its poison.
template <typename Weights>
std::vector<float> run_linear(MetalDevice& device, const LinearProblem& p, const LinearOperands& operands) {
  const Weights w(device, p, operands);
  const MetalArray<uint16_t> x(device, to_bf16(operands.x)), x_low(device, to_bf16(operands.x_low));
  const MetalArray<float> bias(device, operands.bias), y(device, size_t(p.rows + 1) * p.out);
  if (p.accumulate) std::ranges::copy(operands.y, y.data());
  metal::linear(device.encoder, {p.rows, p.in, p.out, p.accumulate, p.paired}, x.data(),
                p.paired ? x_low.data() : nullptr, w.rows(), p.biased ? bias.data() : nullptr, y.data());
  return y.read();
}

template <typename Weights>
void check_linear(MetalDevice& device, const LinearProblem& p) {
  const LinearOperands operands = Weights::operands(p);
  check_linear(device.name, p, operands, run_linear<Weights>(device, p, operands), Weights::tolerance(p));
}

template <typename Weights>
void check_numbers_of_rows(MetalDevice& device) {
  for (const int rows : {0, 1, 2, 3, 4, 5, 8, 9, 16, 17, 32, 33, 65}) check_linear<Weights>(device, {rows, 96, 80});
  check_linear<Weights>(device, {70, 64, 144, true});
}

template <typename Weights>
void check_shapes(MetalDevice& device) {
  for (const int in : {32, 64, 160}) {
    for (const int out : {1, 5, 64, 131}) {
      const bool accumulate = in / 32 % 2 != 0;
      check_linear<Weights>(device, {1, in, out, !accumulate, out != 64});
      check_linear<Weights>(device, {3, in, out, accumulate, out != 64});
      check_linear<Weights>(device, {8, in, out, !accumulate, out != 5});
      check_linear<Weights>(device, {19, in, out, accumulate, out != 131});
    }
  }
}

// Few rows, and many.
template <typename Weights>
void check_rows_alone(MetalDevice& device, int columns_of_few) {
  for (const bool paired : {false, true}) {
    for (const auto& [most, least, in] : {std::tuple(8, 1, columns_of_few), {40, 9, 96}}) {
      const LinearProblem all = {most, in, 37, true, true, paired};
      const LinearOperands operands = Weights::operands(all);
      const std::vector<float> expected = run_linear<Weights>(device, all, operands);
      for (int rows = least; rows < most; rows += rows < 8 ? 1 : 7) {
        const int first = (most - rows) / 2;  // at other places in the tiles, too
        LinearProblem p = all;
        p.rows = rows;
        check_linear_part(device.name, p, first, rows, run_linear<Weights>(device, p, operands.part(p, first, rows)),
                          expected);
      }
    }
  }
}

}  // namespace

TEST("metal linear: numbers of rows around every tile") { for_each_metal_device(check_numbers_of_rows<BF16Weights>); }

TEST("metal q8 linear: numbers of rows around every tile") { for_each_metal_device(check_numbers_of_rows<Q8Weights>); }

TEST("metal linear: any number of columns and outputs, with and without bias, assigned and added") {
  for_each_metal_device(check_shapes<BF16Weights>);
}

TEST("metal q8 linear: any number of columns and outputs, with and without bias, assigned and added") {
  for_each_metal_device(check_shapes<Q8Weights>);
}

TEST("metal linear: the model's columns: router, projection to the residual stream, logits") {
  for_each_metal_device([](MetalDevice& device) {
    check_linear<BF16Weights>(device, {1, 2880, 32, false, true, true});
    check_linear<BF16Weights>(device, {2, 2880, 128, false, true, true});
    check_linear<BF16Weights>(device, {1, 4096, 45, true});
    check_linear<BF16Weights>(device, {9, 4096, 10, true});
    check_linear<BF16Weights>(device, {18, 2880, 33, false, false, true});
  });
}

TEST("metal linear: 16 bits of each value, in two columns") {
  for_each_metal_device([](MetalDevice& device) {
    for (const int rows : {1, 2, 4, 5, 8, 12, 33}) {
      check_linear<BF16Weights>(device, {rows, 96, 40, rows % 2 != 0, rows % 3 != 0, true});
      check_linear<BF16Weights>(device, {rows, 64, 5, false, true, true});
    }
  });
}

TEST("metal q8 linear: the model's columns, and 16 bits of each value") {
  for_each_metal_device([](MetalDevice& device) {
    check_linear<Q8Weights>(device, {1, 2880, 32, false, false, true});
    check_linear<Q8Weights>(device, {1, 4096, 45, true});
    check_linear<Q8Weights>(device, {9, 4096, 10, true});
    check_linear<Q8Weights>(device, {18, 2880, 33, false, false, true});
    for (const int rows : {1, 2, 4, 5, 8, 12, 33})
      check_linear<Q8Weights>(device, {rows, 96, 40, rows % 2 != 0, true, true});
  });
}

TEST("metal linear: a row's bits depend on no other row, among few rows and among many") {
  for_each_metal_device([](MetalDevice& device) { check_rows_alone<BF16Weights>(device, 544); });
}

TEST("metal q8 linear: a row's bits depend on no other row, among few rows and among many") {
  for_each_metal_device([](MetalDevice& device) { check_rows_alone<Q8Weights>(device, 1088); });
}

TEST("metal linear: a small product is not lost in a large residual stream") {
  for_each_metal_device([](MetalDevice& device) {
    for (const int rows : {1, 20}) {
      const int in = 1024, out = 3;
      const LinearProblem p = {rows, in, out, true, false};
      LinearOperands operands(p);
      std::ranges::fill(operands.x, 1.0f);
      std::ranges::fill(operands.w, 0x1p-11f);  // the sum is 0.5; each product alone would round to nothing
      std::ranges::fill(operands.y, 0x1p20f);
      const std::vector<float> actual = run_linear<BF16Weights>(device, p, operands);
      for (int i = 0; i < rows * out; ++i) CHECK_EQ(actual[size_t(i)], 0x1p20f + 0.5f);
    }
  });
}

}  // namespace oss::test
