#include "test/kernels/support.h"

namespace oss::test {

TEST("rope: golden rotations up to position 131071") {
  const SafetensorsFile file = golden("rope");
  const int tokens = int(file.tensors.at("x").shape[0]), heads = 2, head_dim = 64;
  const std::vector<float> x = floats(file.tensors.at("x"));
  const std::vector<float> cosines = floats(file.tensors.at("cos_f64")), sines = floats(file.tensors.at("sin_f64"));
  const std::vector<double> expected = doubles(file.tensors.at("rotated_f64"));
  std::vector<float> table;
  for (int t = 0; t < tokens; ++t) {
    table.insert(table.end(), cosines.begin() + t * 32, cosines.begin() + (t + 1) * 32);
    table.insert(table.end(), sines.begin() + t * 32, sines.begin() + (t + 1) * 32);
  }
  for (const cpu::Kernels* kernels : cpu::available_kernels()) {
    std::vector<float> y = x;
    kernels->rope({tokens, heads, head_dim, heads * head_dim}, table.data(), y.data());
    CHECK_CLOSE(kernels->isa, y.data(), expected.data(), y.size(), 1e-6, 0);
  }
}

TEST("rope: any even head_dim, rows with a stride, nothing else touched") {
  for (const int head_dim : {2, 14, 32, 34, 48, 64, 128}) {
    const int tokens = 3, heads = 2, stride = heads * head_dim + 5, half = head_dim / 2;
    const std::vector<float> x = random_floats(size_t(tokens) * stride, 3),
                             table = random_floats(size_t(tokens) * head_dim, 4);
    std::vector<double> expected(x.begin(), x.end());
    for (int t = 0; t < tokens; ++t) {
      for (int h = 0; h < heads; ++h) {
        for (int i = 0; i < half; ++i) {
          const size_t a = size_t(t) * stride + h * head_dim + i, b = a + half;
          const double c = table[t * head_dim + i], s = table[t * head_dim + half + i];
          expected[a] = x[a] * c - x[b] * s;
          expected[b] = x[b] * c + x[a] * s;
        }
      }
    }
    for (const cpu::Kernels* kernels : cpu::available_kernels()) {
      std::vector<float> y = x;
      kernels->rope({tokens, heads, head_dim, stride}, table.data(), y.data());
      CHECK_CLOSE(str(kernels->isa, " head_dim ", head_dim), y.data(), expected.data(), y.size(), 0, 2e-7);
      for (int t = 0; t < tokens; ++t) {
        for (int i = heads * head_dim; i < stride; ++i) CHECK_EQ(y[t * stride + i], x[t * stride + i]);
      }
    }
  }
}

}  // namespace oss::test
