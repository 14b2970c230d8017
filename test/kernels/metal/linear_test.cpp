#include "test/kernels/gpu/values.h"
#include "test/kernels/metal/support.h"

namespace oss::test {
namespace {

struct Problem {
  int rows, in, out;
  bool accumulate = false, biased = true;
  bool paired = false;  // with x_low
};

struct Operands {
  std::vector<float> x, x_low, w, bias, y;

  explicit Operands(const Problem& p)
      : x(exact_values(size_t(p.rows) * p.in, 1)),
        x_low(exact_values(x.size(), 5, 0x1p-9f)),
        w(exact_values(size_t(p.out) * p.in, 2)),
        bias(exact_values(p.out, 3)),
        y(exact_values(size_t(p.rows) * p.out, 4)) {}
};

// y [rows + 1, out]; the last row keeps its poison.
std::vector<float> run_linear(MetalDevice& device, const Problem& p, const Operands& operands) {
  std::vector<float> shifted(4, NAN);  // weights are aligned to 8 bytes, not to more
  shifted.insert(shifted.end(), operands.w.begin(), operands.w.end());
  const MetalArray<uint16_t> x(device, to_bf16(operands.x)), x_low(device, to_bf16(operands.x_low)),
      w(device, to_bf16(shifted));
  const MetalArray<float> bias(device, operands.bias), y(device, size_t(p.rows + 1) * p.out);
  if (p.accumulate) std::ranges::copy(operands.y, y.data());
  metal::linear(device.encoder, {p.rows, p.in, p.out, p.accumulate, p.paired}, x.data(),
                p.paired ? x_low.data() : nullptr, w.data() + 4, p.biased ? bias.data() : nullptr, y.data());
  return y.read();
}

void check_linear(MetalDevice& device, const Problem& p) {
  const std::string what =
      str(device.name, ": rows ", p.rows, ", in ", p.in, ", out ", p.out, p.accumulate ? ", accumulate" : "",
          p.biased ? "" : ", no bias", p.paired ? ", paired" : "");
  const Operands operands(p);
  const std::vector<float> actual = run_linear(device, p, operands);
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
  // Of thousands of results, the worst can have twice the usual error.
  CHECK_CLOSE(what, actual.data(), expected.data(), expected.size(), 0, 2 * sum_tolerance(p.in * (p.paired ? 2 : 1)));
  for (size_t i = expected.size(); i < actual.size(); ++i) {
    if (!is_poison(actual[i])) return fail(__FILE__, __LINE__, str(what, ": wrote past the rows, at ", i));
  }
}

}  // namespace

TEST("metal linear: numbers of rows around every tile") {
  for_each_metal_device([](MetalDevice& device) {
    for (const int rows : {0, 1, 2, 3, 4, 5, 8, 9, 16, 17, 32, 33, 65}) check_linear(device, {rows, 96, 80});
    check_linear(device, {70, 64, 144, true});
  });
}

TEST("metal linear: any number of columns and outputs, with and without bias, assigned and added") {
  for_each_metal_device([](MetalDevice& device) {
    for (const int in : {32, 64, 160}) {
      for (const int out : {1, 5, 64, 131}) {
        const bool accumulate = in / 32 % 2 != 0;
        check_linear(device, {1, in, out, !accumulate, out != 64});
        check_linear(device, {3, in, out, accumulate, out != 64});
        check_linear(device, {8, in, out, !accumulate, out != 5});
        check_linear(device, {19, in, out, accumulate, out != 131});
      }
    }
  });
}

TEST("metal linear: the model's columns: router, projection to the residual stream, logits") {
  for_each_metal_device([](MetalDevice& device) {
    check_linear(device, {1, 2880, 32, false, true, true});
    check_linear(device, {2, 2880, 128, false, true, true});
    check_linear(device, {1, 4096, 45, true});
    check_linear(device, {9, 4096, 10, true});
    check_linear(device, {18, 2880, 33, false, false, true});
  });
}

TEST("metal linear: 16 bits of each value, in two columns") {
  for_each_metal_device([](MetalDevice& device) {
    for (const int rows : {1, 2, 4, 5, 8, 12, 33}) {
      check_linear(device, {rows, 96, 40, rows % 2 != 0, rows % 3 != 0, true});
      check_linear(device, {rows, 64, 5, false, true, true});
    }
  });
}

TEST("metal linear: a row's bits depend on no other row, among few rows and among many") {
  for_each_metal_device([](MetalDevice& device) {
    for (const bool paired : {false, true}) {
      for (const auto& [most, least, in] : {std::tuple(8, 1, 544), {40, 9, 96}}) {
        const int out = 37;
        const Problem all = {most, in, out, true, true, paired};
        const Operands operands(all);
        const std::vector<float> expected = run_linear(device, all, operands);
        for (int rows = least; rows < most; rows += rows < 8 ? 1 : 7) {
          const int first = (most - rows) / 2;  // at other places in the tiles, too
          Operands part = operands;
          const auto cut = [&](std::vector<float>& from, int width) {
            from = std::vector<float>(from.begin() + first * width, from.begin() + (first + rows) * width);
          };
          cut(part.x, in), cut(part.x_low, in), cut(part.y, out);
          const std::vector<float> actual = run_linear(device, {rows, in, out, true, true, paired}, part);
          if (std::memcmp(actual.data(), expected.data() + first * out, size_t(rows) * out * sizeof(float)) != 0)
            fail(__FILE__, __LINE__, str(device.name, ": ", rows, " rows differ from ", most));
        }
      }
    }
  });
}

TEST("metal linear: a small product is not lost in a large residual stream") {
  for_each_metal_device([](MetalDevice& device) {
    for (const int rows : {1, 20}) {
      const int in = 1024, out = 3;
      Problem p = {rows, in, out, true, false};
      Operands operands(p);
      std::ranges::fill(operands.x, 1.0f);
      std::ranges::fill(operands.w, 0x1p-11f);  // the sum is 0.5; each product alone would round to nothing
      std::ranges::fill(operands.y, 0x1p20f);
      const std::vector<float> actual = run_linear(device, p, operands);
      for (int i = 0; i < rows * out; ++i) CHECK_EQ(actual[size_t(i)], 0x1p20f + 0.5f);
    }
  });
}

}  // namespace oss::test
