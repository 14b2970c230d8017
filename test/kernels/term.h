// A term of an adapter with random factors, and what it adds, in double.
#pragma once
#include "test/kernels/support.h"

namespace oss::test {

// The term of one matrix; rank 0: none.
struct Term {
  int in = 0, out = 0, rank = 0;
  float scale = 0;
  std::vector<float> a, b;  // [rank, in], [out, rank]

  Term() = default;
  Term(int in_, int out_, int rank_, uint32_t seed)
      : in(in_),
        out(out_),
        rank(rank_),
        scale(0.75f),
        a(factor(size_t(rank) * in, seed)),
        b(factor(size_t(out) * rank, seed + 1)) {}

  // y += scale · B (A x)
  template <typename Value>
  void add(const Value* x, double* y) const {
    for (int k = 0; k < rank; ++k) {
      double t = 0;
      for (int i = 0; i < in; ++i) t += double(x[i]) * a[size_t(k) * in + i];
      for (int r = 0; r < out; ++r) y[r] += scale * t * b[size_t(r) * rank + k];
    }
  }

 private:
  // Values that bf16 holds exactly.
  static std::vector<float> factor(size_t size, uint32_t seed) {
    std::vector<float> values = random_floats(size, seed, 0.5f);
    for (float& value : values) value = bf16_to_f32(f32_to_bf16(value));
    return values;
  }
};

}  // namespace oss::test
