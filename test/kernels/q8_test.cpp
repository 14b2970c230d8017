// Dense weights in Q8: how they are made, and products with them on every instruction set and unit of this machine.
// References sum the quantised values in float64. So the remaining error is the rounding of float32 sums.
#include "kernels/common/q8.h"

#include <array>
#include <limits>

#include "kernels/common/synthetic.h"
#include "native/base/synthetic_tensor.h"
#include "test/kernels/support.h"

namespace oss::test {
namespace {

struct Quantized {
  bool all = false;
  std::vector<int8_t> codes;
  std::vector<uint16_t> scales;

  Quantized(const cpu::Kernels& kernels, const std::vector<uint16_t>& from)
      : codes(from.size()), scales(from.size() / kQ8Block) {
    all = kernels.quantize_q8(scales.size(), from.data(), codes.data(), scales.data());
  }
  float value(size_t i) const { return float(codes[i]) * q8_scale_to_f32(scales[i / kQ8Block]); }
};

double rounded(float x) { return bf16_to_f32(f32_to_bf16(x)); }

// Every way to multiply: each instruction set with float32 activations, then each unit with bf16 ones.
template <typename Body>
void for_each_backend(int threads, const Body& body) {
  for (const cpu::Kernels* kernels : cpu::available_kernels()) {
    CpuBackend backend(*kernels, threads, nullptr, DenseWeights::kQ8);
    body(backend, false);
  }
  for (const cpu::Bf16Kernels* bf16 : cpu::available_bf16_kernels()) {
    CpuBackend backend(*cpu::available_kernels().front(), threads, bf16, DenseWeights::kQ8);
    body(backend, true);
  }
}

struct Problem {
  LinearArgs args;
  std::vector<float> x, bias, before;
  std::vector<uint16_t> weights;
  Quantized w;

  explicit Problem(LinearArgs shape)
      : args(shape),
        x(random_floats(size_t(shape.rows) * shape.in, 1)),
        bias(random_floats(size_t(shape.out), 2)),
        before(random_floats(size_t(shape.rows) * shape.out, 3)),
        weights(random_bf16(size_t(shape.out) * shape.in, 4, 0.1f)),
        w(*cpu::available_kernels().front(), weights) {}

  // fast: activations and weights are rounded to bf16; those of a precise product have twice the bits.
  std::vector<double> expected(bool fast) const {
    std::vector<double> y;
    for (int t = 0; t < args.rows; ++t) {
      for (int r = 0; r < args.out; ++r) {
        double total = bias[r];
        for (int k = 0; k < args.in; ++k) {
          const float value = x[size_t(t) * args.in + k], weight = w.value(size_t(r) * args.in + k);
          const double twice = rounded(value) + rounded(float(value - rounded(value)));
          total += fast ? (args.precise ? twice : rounded(value)) * rounded(weight) : double(value) * weight;
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
    const Vector vector = {bias.data(), args.out};
    const Matrix matrix = backend.packer().pack_matrix(
        tensor_of("w", DType::kBF16, {args.out, args.in}, weights.data()), MatrixUse::kProduct);
    backend.linear(part, RowsOf::kTokens, operand(x.data() + size_t(first) * args.in), matrix, &vector, y.data());
    return y;
  }
};

}  // namespace

TEST("q8: every scale has the value of its bits, on every instruction set") {
  const std::vector<int8_t> ones(kQ8Block, 1);
  for (uint32_t bits = 0; bits < kQ8NoScale; ++bits) {
    const uint32_t exponent = bits >> 10, fraction = bits & 0x3FF;
    const double value = exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, int(exponent) - 25);
    bool same = q8_scale_to_f32(uint16_t(bits)) == value;
    for (const cpu::Kernels* kernels : cpu::available_kernels()) {
      float wide[kQ8Block];
      const uint16_t scale = uint16_t(bits);
      kernels->widen_q8(1, ones.data(), &scale, wide);
      same = same && wide[0] == value && wide[kQ8Block - 1] == value;
    }
    CHECK(same);
  }
}

TEST("q8: a scale is the least that reaches the largest weight") {
  for (uint32_t bits = 1; bits < 0x7F80; ++bits) {
    const float largest = bf16_to_f32(uint16_t(bits));
    const uint16_t scale = q8_scale_for(largest);
    if (largest > 127.0 * 65504.0) {
      CHECK_EQ(scale, kQ8NoScale);
      continue;
    }
    const double exact = double(largest) / 127;
    CHECK(q8_scale_to_f32(scale) >= exact * (1 - 0x1p-23));
    CHECK(q8_scale_to_f32(uint16_t(scale - 1)) < exact);
  }
  CHECK_EQ(q8_scale_for(0), 0);
  for (const float none : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    CHECK_EQ(q8_scale_for(none), kQ8NoScale);
  }
}

TEST("q8: each weight is within half a scale, of any size, and every instruction set makes the same codes") {
  std::vector<uint16_t> from;
  for (const float size : {1e-38f, 1e-7f, 1e-6f, 1e-3f, 0.02f, 1.0f, 300.0f, 8e6f}) {
    const std::vector<uint16_t> block = random_bf16(64, uint32_t(from.size() + 1), size);
    from.insert(from.end(), block.begin(), block.end());
  }
  from.insert(from.end(), kQ8Block, 0);
  for (int i = 0; i < kQ8Block; ++i) from.push_back(i % 2 == 0 ? 0x8000 : 0x0001);  // -0 and a denormal
  for (int i = 0; i < kQ8Block; ++i) from.push_back(f32_to_bf16(i == 7 ? -127.0f : float(i) + 0.5f));  // ties
  const Quantized first(*cpu::available_kernels().front(), from);
  for (const cpu::Kernels* kernels : cpu::available_kernels()) {
    const Quantized made(*kernels, from);
    CHECK(made.all);
    CHECK(made.codes == first.codes && made.scales == first.scales);
    for (size_t i = 0; i < from.size(); ++i) {
      const double scale = q8_scale_to_f32(made.scales[i / kQ8Block]);
      // the quotient is rounded before it is rounded to a whole number
      CHECK(std::abs(double(made.value(i)) - bf16_to_f32(from[i])) <= scale * (0.5 + 127 * 0x1p-24));
    }
  }
  CHECK(std::abs(int(first.codes[64])) <= 127);
  for (int i = 0; i < kQ8Block; ++i) CHECK_EQ(int(first.codes[16 * kQ8Block + i]), 0);
  CHECK_EQ(first.scales[16], 0);
}

TEST("q8: a block with an infinity, a NaN or a weight beyond all scales is reported") {
  for (const uint16_t bad : std::array<uint16_t, 5>{0x7F80, 0xFF80, 0x7FC0, 0x7F81, f32_to_bf16(1e7f)}) {
    for (const cpu::Kernels* kernels : cpu::available_kernels()) {
      std::vector<uint16_t> from = random_bf16(96, 1);
      from[40] = bad;
      const Quantized made(*kernels, from);
      CHECK(!made.all);
      CHECK_EQ(made.scales[1], kQ8NoScale);
      CHECK(made.scales[0] < kQ8NoScale && made.scales[2] < kQ8NoScale);
    }
  }
}

TEST("q8 linear: any shape, against a double loop over the quantised weights") {
  for (const LinearArgs& args : {LinearArgs{1, 32, 1, 0},
                                 {1, 32, 3, 1},
                                 {2, 64, 5, 0},
                                 {3, 64, 7, 1},
                                 {17, 96, 16, 0},
                                 {40, 160, 301, 1},
                                 {9, 128, 33, 0},
                                 {1, 2880, 32, 0},
                                 {150, 64, 300, 0},
                                 {33, 96, 17, 1}}) {
    for (const int precise : {0, 1}) {
      LinearArgs shape = args;
      shape.precise = precise;
      const Problem problem(shape);
      const std::vector<double> exact = problem.expected(false), rounded = problem.expected(true);
      for_each_backend(2, [&](CpuBackend& backend, bool fast) {
        const std::vector<float> y = problem.run(backend, 0, args.rows);
        CHECK_CLOSE(
            str(backend.info().isa, " rows ", args.rows, " in ", args.in, " out ", args.out, precise ? " precise" : ""),
            y.data(), (fast ? rounded : exact).data(), y.size(), 1e-7, sum_tolerance(2 * args.in + 4));
      });
    }
  }
}

TEST(
    "q8 linear: each row of a batch, on any number of threads, has the bits that it has alone; AVX2, AVX-512 and NEON "
    "agree") {
  const Problem problem({70, 192, 301, 1, 1});
  std::vector<float> fastest;
  for_each_backend(1, [&](CpuBackend& one, bool fast) {
    const std::string isa = one.info().isa;
    const std::vector<float> batch = problem.run(one, 0, 70);
    for (const int n : {1, 16, 17, 33}) {
      const auto rows = batch.begin() + size_t(3) * 301;
      CHECK_BITS(str(isa, " rows 3 to ", 3 + n), problem.run(one, 3, n),
                 std::vector<float>(rows, rows + size_t(n) * 301));
    }
    for_each_backend(3, [&](CpuBackend& three, bool) {
      if (three.info().isa != isa) return;
      CHECK_BITS(str(isa, " threads"), problem.run(three, 0, 70), batch);
      for (const int t : {0, 15, 69}) {
        const auto row = batch.begin() + size_t(t) * 301;
        CHECK_BITS(str(isa, " row ", t), problem.run(three, t, 1), std::vector<float>(row, row + 301));
      }
    });
    if (fast || isa == "scalar") return;
    if (fastest.empty()) fastest = batch;
    CHECK_BITS(str(isa, " and the fastest"), batch, fastest);
  });
}

TEST("q8: the backend copies what it can, reports the size before and after, and reads rows from the copy") {
  const int rows = 40, cols = 96;
  const std::vector<uint16_t> bf16 = random_bf16(size_t(rows) * cols, 5);
  const HostTensor tensor = tensor_of("m", DType::kBF16, {rows, cols}, bf16.data());
  for_each_backend(2, [&](CpuBackend& backend, bool) {
    const Matrix table = backend.packer().pack_matrix(tensor, MatrixUse::kTable);
    CHECK(table.data == nullptr && table.rows == rows && table.cols == cols);
    CHECK_EQ(backend.packer().packed_bytes(), size_t(rows) * cols / 32 * 34);
    CHECK_EQ(backend.sizes().matrix_bytes(rows, cols, MatrixUse::kTable, false),
             uint64_t(backend.packer().packed_bytes()));
    const uint64_t before = backend.packer().packed_bytes();
    CHECK_EQ(backend.packer().pack_matrix(tensor, MatrixUse::kRotated).data, nullptr);
    CHECK_EQ(backend.sizes().matrix_bytes(rows, cols, MatrixUse::kProduct, false),
             uint64_t(backend.packer().packed_bytes()) - before);
    const Quantized made(*cpu::available_kernels().front(), bf16);
    const int32_t tokens[] = {39, 0, 7};
    Step step;
    step.tokens = tokens;
    std::vector<float> x(3 * cols), expected;
    backend.embed({3, cols}, table, step, x.data());
    for (const int32_t token : tokens) {
      for (int c = 0; c < cols; ++c) expected.push_back(made.value(size_t(token) * cols + c));
    }
    CHECK_BITS(backend.info().isa, x, expected);
  });
}

TEST("q8: the router, rows of partial blocks, and weights without a scale are not quantised") {
  const std::vector<uint16_t> bf16 = random_bf16(4 * 96, 6);
  std::vector<uint16_t> bad = bf16;
  bad[300] = 0x7FC0;
  for_each_backend(2, [&](CpuBackend& backend, bool) {
    CHECK(backend.packer()
              .pack_matrix(tensor_of("router", DType::kBF16, {4, 96}, bf16.data()), MatrixUse::kRouter)
              .data == bf16.data());
    CHECK(
        backend.packer().pack_matrix(tensor_of("odd", DType::kBF16, {6, 48}, bf16.data()), MatrixUse::kProduct).data ==
        bf16.data());
    CHECK(backend.packer().pack_matrix(tensor_of("bad", DType::kBF16, {4, 96}, bad.data()), MatrixUse::kProduct).data ==
          bad.data());
    CHECK_EQ(backend.packer().packed_bytes(), size_t(0));
    CHECK_EQ(backend.sizes().matrix_bytes(4, 96, MatrixUse::kRouter, false) +
                 backend.sizes().matrix_bytes(6, 48, MatrixUse::kProduct, false),
             uint64_t(0));
  });
}

TEST("q8: weights without a file are made, copied and freed") {
  const SyntheticSource source = {.kind = kSyntheticNormal, .key = 7, .scale = 0.02f};
  HostTensor tensor{"m", "synthetic", DType::kBF16, {2000, 640}, nullptr, 2000 * 640 * 2, source};
  std::vector<uint16_t> bytes(2000 * 640);
  synthesize(tensor, 0, tensor.bytes, bytes.data());
  const cpu::Kernels& kernels = *cpu::available_kernels().front();
  CpuBackend backend(kernels, 3, nullptr, DenseWeights::kQ8);
  const Matrix made = backend.packer().pack_matrix(tensor, MatrixUse::kProduct);
  const Quantized expected(kernels, bytes);
  CHECK(std::equal(expected.codes.begin(), expected.codes.end(), made.q8_codes));
  CHECK(std::equal(expected.scales.begin(), expected.scales.end(), made.q8_scales));
}

}  // namespace oss::test
