#include "test/kernels/support.h"

namespace oss::test {
namespace {

// A term of one matrix with random factors.
struct RandomTerm {
  std::vector<uint16_t> a, b;
  LowRank term;

  RandomTerm(int in, int out, int rank, uint32_t seed)
      : a(random_bf16(size_t(rank) * in, seed)),
        b(random_bf16(size_t(out) * rank, seed + 1)),
        term{{a.data(), rank, in}, {b.data(), out, rank}, 0.75f} {}
  RandomTerm(const RandomTerm&) = delete;

  // scale · B (A x), with float64 sums.
  std::vector<double> times(const float* x) const {
    std::vector<double> out(size_t(term.b.rows));
    for (int k = 0; k < term.a.rows; ++k) {
      double t = 0;
      for (int i = 0; i < term.a.cols; ++i) t += double(x[i]) * bf16_to_f32(a[size_t(k) * term.a.cols + i]);
      for (int r = 0; r < term.b.rows; ++r) out[r] += t * term.scale * bf16_to_f32(b[size_t(r) * term.b.cols + k]);
    }
    return out;
  }
};

}  // namespace

TEST("low_rank: any shape and rank, against a double loop; rows without a term are not touched") {
  struct Shape {
    int in, out, rank;
  };
  const LowRank none;
  for (const Shape s : {Shape{64, 96, 1}, {96, 33, 3}, {100, 1000, 16}, {2880, 32, 8}, {50, 7, 70}, {32, 520, 31}}) {
    const RandomTerm one(s.in, s.out, s.rank, 5), other(s.in, s.out, s.rank + 2, 9);
    // Runs of rows with the same term, rows without one, and a term that returns.
    const std::vector<const LowRank*> terms = {&one.term, &one.term, nullptr,     &other.term, &one.term,
                                               &none,     &one.term, &other.term, &other.term, &other.term};
    const int rows = int(terms.size());
    const std::vector<float> x = random_floats(size_t(rows) * s.in, 1), before = random_floats(size_t(rows) * s.out, 2);
    std::vector<double> expected(before.begin(), before.end());
    for (int t = 0; t < rows; ++t) {
      if (terms[t] == nullptr || terms[t]->empty()) continue;
      const std::vector<double> added = (terms[t] == &one.term ? one : other).times(x.data() + size_t(t) * s.in);
      for (int r = 0; r < s.out; ++r) expected[size_t(t) * s.out + r] += added[r];
    }
    for (const cpu::Kernels* kernels : cpu::available_kernels()) {
      std::vector<float> batch;
      for (const int threads : {1, 2, 3}) {
        CpuBackend backend(*kernels, threads);
        std::vector<float> y = before;
        backend.low_rank(RowsOf::kTokens, terms, operand(x.data()), y.data());
        if (batch.empty()) batch = y;
        CHECK_BITS(str(kernels->isa, " threads ", threads), y, batch);
        std::vector<float> alone = before;
        for (int t = 0; t < rows; ++t) {
          backend.low_rank(RowsOf::kTokens, {&terms[t], 1}, operand(x.data() + size_t(t) * s.in),
                           alone.data() + size_t(t) * s.out);
        }
        CHECK_BITS(str(kernels->isa, " one by one"), alone, batch);
      }
      CHECK_CLOSE(str(kernels->isa, " ", s.in, " to ", s.out, " by ", s.rank), batch.data(), expected.data(),
                  batch.size(), 0, 2 * sum_tolerance(s.in + s.rank));
      for (const int t : {2, 5}) {
        const auto row = [&](const std::vector<float>& of) {
          return std::vector<float>(of.begin() + t * s.out, of.begin() + (t + 1) * s.out);
        };
        CHECK_BITS(str(kernels->isa, " row ", t), row(batch), row(before));
      }
    }
  }
}

}  // namespace oss::test
