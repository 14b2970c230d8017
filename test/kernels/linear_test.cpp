#include "test/kernels/support.h"

namespace oss::test {

static std::vector<double> reference_linear(const LinearArgs& args, const std::vector<float>& x,
                                            const std::vector<uint16_t>& w, const float* bias,
                                            const std::vector<float>& y) {
  std::vector<double> expected(y.begin(), y.end());
  for (int t = 0; t < args.rows; ++t) {
    for (int r = 0; r < args.out; ++r) {
      double total = bias != nullptr ? bias[r] : 0;
      for (int k = 0; k < args.in; ++k)
        total += double(x[size_t(t) * args.in + k]) * bf16_to_f32(w[size_t(r) * args.in + k]);
      double& out = expected[size_t(t) * args.out + r];
      out = args.accumulate != 0 ? out + total : total;
    }
  }
  return expected;
}

TEST("linear: any shape, against a double loop") {
  struct Shape {
    int rows, in, out;
  };
  for (const Shape s :
       {Shape{1, 1, 1}, {1, 15, 3}, {2, 33, 5}, {3, 64, 7}, {4, 96, 16}, {5, 160, 301}, {9, 128, 18}, {1, 2880, 32}}) {
    for (const int accumulate : {0, 1}) {
      const LinearArgs args = {s.rows, s.in, s.out, accumulate};
      const std::vector<float> x = random_floats(size_t(s.rows) * s.in, 1), bias = random_floats(s.out, 2);
      const std::vector<float> before = random_floats(size_t(s.rows) * s.out, 3);
      const std::vector<uint16_t> w = random_bf16(size_t(s.out) * s.in, 4);
      for (const float* b : {static_cast<const float*>(nullptr), bias.data()}) {
        const std::vector<double> expected = reference_linear(args, x, w, b, before);
        for (const cpu::Kernels* kernels : cpu::available_kernels()) {
          std::vector<float> y = before;
          kernels->linear(args, 0, s.out, x.data(), w.data(), b, y.data());
          CHECK_CLOSE(str(kernels->isa, " rows ", s.rows, " in ", s.in, " out ", s.out), y.data(), expected.data(),
                      y.size(), 1e-7, sum_tolerance(s.in + 4));
        }
      }
    }
  }
}

TEST("linear: weights at an odd multiple of two bytes") {
  const LinearArgs args = {2, 64, 6, 0};
  const std::vector<float> x = random_floats(128, 1);
  std::vector<uint16_t> w = random_bf16(64 * 6, 2), shifted(1);
  shifted.insert(shifted.end(), w.begin(), w.end());
  for (const cpu::Kernels* kernels : cpu::available_kernels()) {
    std::vector<float> y(12), z(12);
    kernels->linear(args, 0, 6, x.data(), w.data(), nullptr, y.data());
    kernels->linear(args, 0, 6, x.data(), shifted.data() + 1, nullptr, z.data());
    CHECK_BITS(kernels->isa, z, y);
  }
}

TEST("linear: a batch of 7 equals seven batches of 1; 1, 2 and 3 threads agree; AVX2, AVX-512 and NEON agree") {
  const int in = 2880, out = 301;
  const std::vector<float> x = random_floats(size_t(7) * in, 1), bias = random_floats(out, 2);
  const std::vector<uint16_t> w = random_bf16(size_t(out) * in, 3);
  const Matrix matrix = {w.data(), out, in};
  const Vector vector = {bias.data(), out};
  std::vector<float> fastest;
  for (const cpu::Kernels* kernels : cpu::available_kernels()) {
    std::vector<float> batch(size_t(7) * out), single(size_t(7) * out);
    CpuBackend(*kernels, 1).linear({7, in, out, 0}, RowsOf::kTokens, operand(x.data()), matrix, &vector, batch.data());
    for (const int threads : {1, 2, 3}) {
      CpuBackend backend(*kernels, threads);
      std::vector<float> y(size_t(7) * out);
      backend.linear({7, in, out, 0}, RowsOf::kTokens, operand(x.data()), matrix, &vector, y.data());
      CHECK_BITS(str(kernels->isa, " with threads ", threads), y, batch);
      for (int t = 0; t < 7; ++t)
        backend.linear({1, in, out, 0}, RowsOf::kTokens, operand(x.data() + size_t(t) * in), matrix, &vector,
                       single.data() + size_t(t) * out);
      CHECK_BITS(str(kernels->isa, " one by one, threads ", threads), single, batch);
    }
    if (fastest.empty()) fastest = batch;
    if (fused(*kernels)) CHECK_BITS(str(kernels->isa, " and the fastest"), batch, fastest);
  }
}

TEST("lm_head: odd vocab, no bias") {
  const int hidden = 64, vocab = 301, rows = 3;
  const std::vector<float> x = random_floats(size_t(rows) * hidden, 1);
  const std::vector<uint16_t> w = random_bf16(size_t(vocab) * hidden, 2);
  const std::vector<double> expected =
      reference_linear({rows, hidden, vocab, 0}, x, w, nullptr, std::vector<float>(size_t(rows) * vocab));
  for (const cpu::Kernels* kernels : cpu::available_kernels()) {
    CpuBackend backend(*kernels, 2);
    std::vector<float> logits(size_t(rows) * vocab);
    backend.linear({rows, hidden, vocab, 0}, RowsOf::kLogits, operand(x.data()), {w.data(), vocab, hidden}, nullptr,
                   logits.data());
    CHECK_CLOSE(kernels->isa, logits.data(), expected.data(), logits.size(), 0, sum_tolerance(hidden));
  }
}

}  // namespace oss::test
