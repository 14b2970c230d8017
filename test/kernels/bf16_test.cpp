// Products of bf16 activations (numerics "fast"), on every unit of this machine. References round the activations like
// the unit and sum in float64. So the remaining error is the rounding of float32 sums.
#include "kernels/common/mxfp4.h"
#include "test/kernels/support.h"

namespace oss::test {
namespace {

double rounded(float x) { return bf16_to_f32(f32_to_bf16(x)); }
double rounded_twice(float x) { return rounded(x) + rounded(float(x - rounded(x))); }

// A backend for each unit, the way choose_kernels() makes it.
template <typename Body>
void for_each_unit(const Body& body) {
  for (const cpu::Bf16Kernels* bf16 : cpu::available_bf16_kernels()) body(*cpu::available_kernels().front(), *bf16);
}

ExpertMatrix experts_of(CpuBackend& backend, int experts, int rows, int cols, const std::vector<uint8_t>& blocks,
                        const std::vector<uint8_t>& scales, const std::vector<float>& bias, ExpertUse use) {
  return backend.packer().pack_experts(tensor_of("blocks", DType::kU8, {experts, rows, cols / 32, 16}, blocks.data()),
                                       tensor_of("scales", DType::kU8, {experts, rows, cols / 32}, scales.data()),
                                       tensor_of("bias", DType::kF32, {experts, rows}, bias.data()), use);
}

struct LinearProblem {
  LinearArgs args;
  std::vector<float> x, bias, before;
  std::vector<uint16_t> w;

  explicit LinearProblem(LinearArgs shape)
      : args(shape),
        x(random_floats(size_t(shape.rows) * shape.in, 1)),
        bias(random_floats(size_t(shape.out), 2)),
        before(random_floats(size_t(shape.rows) * shape.out, 3)),
        w(random_bf16(size_t(shape.out) * shape.in, 4)) {}

  std::vector<double> expected() const {
    std::vector<double> y;
    for (int t = 0; t < args.rows; ++t) {
      for (int r = 0; r < args.out; ++r) {
        double total = bias[r];
        for (int k = 0; k < args.in; ++k) {
          const float value = x[size_t(t) * args.in + k];
          total += (args.precise ? rounded_twice(value) : rounded(value)) * bf16_to_f32(w[size_t(r) * args.in + k]);
        }
        y.push_back(args.accumulate ? before[size_t(t) * args.out + r] + total : total);
      }
    }
    return y;
  }
  std::vector<float> run(CpuBackend& backend, int first, int rows) const {
    LinearArgs part = args;
    part.rows = rows;
    std::vector<float> y(before.begin() + size_t(first) * args.out, before.begin() + size_t(first + rows) * args.out);
    const Matrix matrix = {w.data(), args.out, args.in};
    const Vector vector = {bias.data(), args.out};
    backend.linear(part, RowsOf::kTokens, operand(x.data() + size_t(first) * args.in), matrix, &vector, y.data());
    return y;
  }
};

struct ExpertsProblem {
  ExpertsArgs args;
  std::vector<uint8_t> up_blocks, up_scales, down_blocks, down_scales;
  std::vector<float> up_bias, down_bias, normed, weight, x;
  std::vector<int32_t> index;

  explicit ExpertsProblem(ExpertsArgs shape) : args(shape) {
    const size_t up = size_t(args.experts) * 2 * args.intermediate * args.hidden;
    const size_t down = size_t(args.experts) * args.hidden * args.intermediate;
    up_blocks = random_bytes(up / 2, 21);
    up_scales = random_bytes(up / 32, 22, 118, 124);
    down_blocks = random_bytes(down / 2, 23);
    down_scales = random_bytes(down / 32, 24, 118, 124);
    up_bias = random_floats(size_t(args.experts) * 2 * args.intermediate, 25);
    down_bias = random_floats(size_t(args.experts) * args.hidden, 26);
    normed = random_floats(size_t(args.tokens) * args.hidden, 27);
    x = random_floats(size_t(args.tokens) * args.hidden, 28);
    weight = random_floats(size_t(args.tokens) * args.top_k, 29);
    std::mt19937 engine(30);
    for (int t = 0; t < args.tokens; ++t) {
      const int first = int(engine() % uint32_t(args.experts));
      for (int k = 0; k < args.top_k; ++k) index.push_back((first + k) % args.experts);
    }
  }
  static double dot(const std::vector<uint8_t>& blocks, const std::vector<uint8_t>& scales, size_t row,
                    const std::vector<double>& x) {
    double total = 0;
    for (size_t k = 0; k < x.size(); ++k) {
      const size_t block = row * (x.size() / 32) + k / 32;
      const int byte = blocks[block * 16 + k % 32 / 2], code = k % 2 == 0 ? byte & 15 : byte >> 4;
      total += std::ldexp(double(e2m1_times2(uint32_t(code))), scales[block] - 128) * x[k];
    }
    return total;
  }
  // The sum over the chosen experts of token t; `scale` receives the size of the summed terms.
  std::vector<double> expected(int t, double& scale) const {
    std::vector<double> out(x.begin() + size_t(t) * args.hidden, x.begin() + size_t(t + 1) * args.hidden);
    std::vector<double> in;
    for (int c = 0; c < args.hidden; ++c) in.push_back(rounded(normed[size_t(t) * args.hidden + c]));
    for (int k = 0; k < args.top_k; ++k) {
      const size_t pair = size_t(t) * args.top_k + k, e = size_t(index[pair]);
      std::vector<double> act;
      for (int i = 0; i < args.intermediate; ++i) {
        const size_t row = e * 2 * args.intermediate + 2 * i;
        const double gate = std::min(dot(up_blocks, up_scales, row, in) + up_bias[row], double(args.limit));
        const double up = std::clamp(dot(up_blocks, up_scales, row + 1, in) + up_bias[row + 1], -double(args.limit),
                                     double(args.limit));
        act.push_back(rounded(float(gate / (1 + std::exp(-double(args.alpha) * gate)) * (up + 1))));
      }
      for (int r = 0; r < args.hidden; ++r) {
        const size_t row = e * args.hidden + r;
        const double value = weight[pair] * (dot(down_blocks, down_scales, row, act) + down_bias[row]);
        out[r] += value;
        scale = std::max(scale, std::abs(value));
      }
    }
    return out;
  }
  std::vector<float> run(CpuBackend& backend, int first, int tokens) const {
    ExpertsArgs part = args;
    part.tokens = tokens;
    const ExpertMatrix up = experts_of(backend, args.experts, 2 * args.intermediate, args.hidden, up_blocks, up_scales,
                                       up_bias, ExpertUse::kGateUp);
    const ExpertMatrix down = experts_of(backend, args.experts, args.hidden, args.intermediate, down_blocks,
                                         down_scales, down_bias, ExpertUse::kDown);
    std::vector<float> y(x.begin() + size_t(first) * args.hidden, x.begin() + size_t(first + tokens) * args.hidden);
    backend.experts(part, operand(normed.data() + size_t(first) * args.hidden),
                    index.data() + size_t(first) * args.top_k, weight.data() + size_t(first) * args.top_k, up, down, {},
                    y.data());
    return y;
  }
};

}  // namespace

TEST("bf16 linear: any shape, against a double loop over rounded activations") {
  for_each_unit([](const cpu::Kernels& kernels, const cpu::Bf16Kernels& bf16) {
    for (const LinearArgs& args : {LinearArgs{1, 2, 1, 0},
                                   {1, 32, 3, 1},
                                   {2, 34, 5, 0},
                                   {3, 64, 7, 1},
                                   {17, 96, 16, 0},
                                   {40, 160, 301, 1},
                                   {9, 130, 33, 0},
                                   {1, 2880, 32, 0},
                                   {150, 64, 96, 0}}) {
      for (const int precise : {0, 1}) {
        LinearArgs shape = args;
        shape.precise = precise;
        const LinearProblem problem(shape);
        const std::vector<double> expected = problem.expected();
        CpuBackend backend(kernels, 2, &bf16);
        const std::vector<float> y = problem.run(backend, 0, args.rows);
        CHECK_CLOSE(str(bf16.isa, " rows ", args.rows, " in ", args.in, " out ", args.out, precise ? " precise" : ""),
                    y.data(), expected.data(), y.size(), 1e-7, sum_tolerance(2 * args.in + 4));
      }
    }
  });
}

TEST("bf16 linear: each row of a batch, on any number of threads, has the same bits as alone") {
  for_each_unit([](const cpu::Kernels& kernels, const cpu::Bf16Kernels& bf16) {
    const LinearProblem problem({70, 192, 301, 1, 1});
    CpuBackend one(kernels, 1, &bf16), three(kernels, 3, &bf16);
    const std::vector<float> batch = problem.run(one, 0, 70);
    CHECK_BITS(str(bf16.isa, " threads"), problem.run(three, 0, 70), batch);
    for (const int t : {0, 15, 16, 33, 69}) {
      const auto row = batch.begin() + size_t(t) * 301;
      CHECK_BITS(str(bf16.isa, " row ", t), problem.run(three, t, 1), std::vector<float>(row, row + 301));
    }
  });
}

TEST("bf16 linear: weights at an odd multiple of two bytes") {
  for_each_unit([](const cpu::Kernels& kernels, const cpu::Bf16Kernels& bf16) {
    LinearProblem problem({5, 96, 40, 0});
    CpuBackend backend(kernels, 1, &bf16);
    const std::vector<float> aligned = problem.run(backend, 0, 5);
    std::vector<uint16_t> shifted(1);
    shifted.insert(shifted.end(), problem.w.begin(), problem.w.end());
    const Matrix matrix = {shifted.data() + 1, 40, 96};
    const Vector bias = {problem.bias.data(), 40};
    std::vector<float> y(5 * 40);
    backend.linear(problem.args, RowsOf::kTokens, operand(problem.x.data()), matrix, &bias, y.data());
    CHECK_BITS(bf16.isa, y, aligned);
  });
}

TEST("bf16 experts: against a double loop over rounded activations; few tokens and many for one expert") {
  for_each_unit([](const cpu::Kernels& kernels, const cpu::Bf16Kernels& bf16) {
    for (const ExpertsArgs& args : {ExpertsArgs{7, 64, 128, 5, 4, 7.0f, 1.702f},
                                    {3, 96, 96, 8, 4, 7.0f, 1.702f},
                                    {1, 160, 96, 32, 4, 7.0f, 1.702f},
                                    {90, 32, 32, 2, 1, 7.0f, 1.702f},
                                    {20, 352, 64, 1, 1, 7.0f, 1.702f}}) {
      const ExpertsProblem problem(args);
      CpuBackend backend(kernels, 2, &bf16);
      const std::vector<float> y = problem.run(backend, 0, args.tokens);
      double scale = 0;
      std::vector<double> expected;
      for (int t = 0; t < args.tokens; ++t) {
        const std::vector<double> row = problem.expected(t, scale);
        expected.insert(expected.end(), row.begin(), row.end());
      }
      // An activation that float32 and float64 round to different neighbours is off by 2^-8 of its value. One or two
      // are.
      CHECK_CLOSE(str(bf16.isa, " hidden ", args.hidden, " intermediate ", args.intermediate, " tokens ", args.tokens),
                  y.data(), expected.data(), y.size(), 0x1p-8 * scale, 0);
      double squares = 0, sizes = 0;
      for (size_t i = 0; i < y.size(); ++i) {
        squares += (y[i] - expected[i]) * (y[i] - expected[i]);
        sizes += expected[i] * expected[i];
      }
      CHECK(std::sqrt(squares / sizes) < 1e-4);
    }
  });
}

TEST("bf16 experts: each token of a batch, on any number of threads, has the same bits as alone") {
  for_each_unit([](const cpu::Kernels& kernels, const cpu::Bf16Kernels& bf16) {
    const ExpertsProblem problem({150, 160, 96, 6, 3, 7.0f, 1.702f});
    CpuBackend one(kernels, 1, &bf16), three(kernels, 3, &bf16);
    const std::vector<float> batch = problem.run(one, 0, 150);
    CHECK_BITS(str(bf16.isa, " threads"), problem.run(three, 0, 150), batch);
    for (const int n : {1, 9, 17}) {
      for (const int t : {0, 31, 133}) {
        const auto begin = batch.begin() + size_t(t) * 160;
        CHECK_BITS(str(bf16.isa, " tokens ", t, " to ", t + n), problem.run(three, t, n),
                   std::vector<float>(begin, begin + size_t(n) * 160));
      }
    }
  });
}

TEST("bf16 experts: every MXFP4 code with every scale of a checkpoint has the right value") {
  for_each_unit([](const cpu::Kernels& kernels, const cpu::Bf16Kernels& bf16) {
    for (const int blocks : {1, 2, 3}) {
      const int cols = 32 * blocks, rows = 32;
      std::vector<uint8_t> codes, scales;
      for (int i = 0; i < rows * blocks; ++i) {
        scales.push_back(uint8_t(2 + (i * 8) % 251));
        for (int j = 0; j < 16; ++j) codes.push_back(uint8_t(i * 7 + j * 17));
      }
      const std::vector<float> bias(rows);
      CpuBackend backend(kernels, 1, &bf16);
      const ExpertMatrix down = experts_of(backend, 1, rows, cols, codes, scales, bias, ExpertUse::kDown);
      const ExpertsArgs args = {1, rows, cols, 1, 1, 7.0f, 1.702f};
      const size_t elements = size_t(bf16.panel_rows) * cpu::panel_cols(cols);
      std::vector<uint16_t> panel(elements + 32), work(bf16.packed_work_elements(cols) + 32);
      const auto aligned = [](std::vector<uint16_t>& v) {
        return v.data() + (64 - reinterpret_cast<uintptr_t>(v.data()) % 64) % 64 / 2;
      };
      for (int k = 0; k < cols; ++k) {
        std::vector<float> one_hot(cols), out(rows);
        one_hot[k] = 1;
        const float* from = one_hot.data();
        bf16.pack_packed(cols, &from, 1, aligned(panel), nullptr);
        const int32_t pair = 0;
        bf16.experts_down(args, {down.blocks, down.scales, down.bias}, 0, rows, &pair, 1, aligned(panel), out.data(),
                          aligned(work));
        for (int r = 0; r < rows; ++r) {
          const int block = r * blocks + k / 32, byte = codes[block * 16 + k % 32 / 2];
          const int code = k % 2 == 0 ? byte & 15 : byte >> 4;
          CHECK_EQ(out[r], float(std::ldexp(double(e2m1_times2(uint32_t(code))), scales[block] - 128)));
        }
      }
    }
  });
}

}  // namespace oss::test
