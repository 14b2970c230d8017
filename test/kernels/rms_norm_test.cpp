#include "test/kernels/support.h"

namespace oss::test {

TEST("rms_norm: golden rows, tiny, zero and large") {
  const SafetensorsFile file = golden("rmsnorm");
  const std::vector<float> x = floats(file.tensors.at("x")), w = floats(file.tensors.at("weight"));
  const std::vector<double> expected = doubles(file.tensors.at("expect_f64"));
  const RmsNormArgs args = {int(file.tensors.at("x").shape[0]), int(w.size()), 1e-5f};
  for (const cpu::Kernels* kernels : cpu::available_kernels()) {
    std::vector<float> y(x.size());
    kernels->rms_norm(args, x.data(), w.data(), y.data());
    // Row by row, because their sizes differ. 2e-6 is the golden set's tolerance.
    for (int t = 0; t < args.rows; ++t) {
      const size_t at = size_t(t) * args.hidden;
      CHECK_CLOSE(str(kernels->isa, " row ", t), y.data() + at, expected.data() + at, args.hidden, 0, 2e-6);
    }
  }
}

TEST("rms_norm: any row length, and a batch equals its rows") {
  for (const int hidden : {1, 2, 15, 16, 17, 96, 160, 2880}) {
    const int rows = 3;
    const std::vector<float> x = random_floats(size_t(rows) * hidden, 1), w = random_floats(hidden, 2);
    std::vector<double> expected;
    for (int t = 0; t < rows; ++t) {
      double mean = 0;
      for (int c = 0; c < hidden; ++c) mean += double(x[t * hidden + c]) * x[t * hidden + c] / hidden;
      for (int c = 0; c < hidden; ++c) expected.push_back(x[t * hidden + c] / std::sqrt(mean + 1e-5) * w[c]);
    }
    std::vector<float> reference;
    for (const cpu::Kernels* kernels : cpu::available_kernels()) {
      std::vector<float> y(x.size()), single(x.size());
      kernels->rms_norm({rows, hidden, 1e-5f}, x.data(), w.data(), y.data());
      CHECK_CLOSE(str(kernels->isa, " hidden ", hidden), y.data(), expected.data(), y.size(), 0, 1e-6);
      for (int t = 0; t < rows; ++t) {
        kernels->rms_norm({1, hidden, 1e-5f}, x.data() + t * hidden, w.data(), single.data() + t * hidden);
      }
      CHECK_BITS(str(kernels->isa, " one by one, hidden ", hidden), single, y);
      if (reference.empty()) reference = y;
      if (fused(*kernels)) CHECK_BITS(str(kernels->isa, " and the fastest, hidden ", hidden), y, reference);
    }
  }
}

}  // namespace oss::test
