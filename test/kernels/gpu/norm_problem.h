// Rows for rms_norm on a GPU, and their norms in double.
#pragma once
#include <cmath>
#include <vector>

#include "kernels/common/args.h"
#include "test/kernels/gpu/values.h"

namespace oss::test {

struct NormProblem {
  int rows, hidden;
  std::vector<float> x, w;
  std::vector<double> expected;

  static constexpr float kEps = 1e-5f;
  RmsNormArgs args() const { return {rows, hidden, kEps}; }
};

inline NormProblem golden_norm() {
  const SafetensorsFile file = golden("rmsnorm");
  const HostTensor& x = file.tensors.at("x");
  return {int(x.shape[0]), int(x.shape[1]), floats(x), floats(file.tensors.at("weight")),
          doubles(file.tensors.at("expect_f64"))};
}

inline NormProblem random_norm(int rows, int hidden) {
  NormProblem p = {rows, hidden, exact_values(size_t(rows) * hidden, 1, 4), exact_values(size_t(hidden), 2), {}};
  for (int t = 0; t < rows; ++t) {
    const float* x = p.x.data() + size_t(t) * hidden;
    double mean = 0;
    for (int c = 0; c < hidden; ++c) mean += double(x[c]) * x[c] / hidden;
    for (int c = 0; c < hidden; ++c) p.expected.push_back(x[c] / std::sqrt(mean + NormProblem::kEps) * p.w[c]);
  }
  return p;
}

}  // namespace oss::test
