#include "test/kernels/support.h"

namespace oss::test {

// The golden rows interleave gate and up.
static void check_swiglu(const SafetensorsFile& file, const std::string& name) {
  const std::vector<float> x = floats(file.tensors.at(name));
  const std::vector<double> expected = doubles(file.tensors.at(name + "_expect_f64"));
  std::vector<float> gate, up;
  for (size_t i = 0; i < x.size(); i += 2) {
    gate.push_back(x[i]);
    up.push_back(x[i + 1]);
  }
  for (const cpu::Kernels* kernels : cpu::available_kernels()) {
    std::vector<float> y(gate.size());
    kernels->swiglu(int(gate.size()), 1.702f, 7.0f, gate.data(), up.data(), y.data());
    for (size_t i = 0; i < y.size(); ++i) {
      const double error = std::fabs(y[i] - expected[i]);
      if (error <= 1e-6 + 1e-6 * std::fabs(expected[i])) continue;  // the golden set's tolerance, per element
      fail(__FILE__, __LINE__,
           str(kernels->isa, " ", name, ": swiglu(", gate[i], ", ", up[i], ") = ", y[i], ", expected ", expected[i]));
    }
  }
}

TEST("swiglu: golden grid around the clamp and far past it") { check_swiglu(golden("swiglu"), "grid"); }
TEST("swiglu: golden random rows") { check_swiglu(golden("swiglu"), "random"); }

TEST("swiglu: -10000 gives zero, NaN stays NaN, any length") {
  for (const cpu::Kernels* kernels : cpu::available_kernels()) {
    for (const int n : {1, 5, 16, 31}) {
      std::vector<float> gate(n, -10000), up(n, 1), y(n, 1);
      kernels->swiglu(n, 1.702f, 7.0f, gate.data(), up.data(), y.data());
      for (const float value : y) CHECK_EQ(value, 0.0f);
      gate.assign(n, NAN);
      kernels->swiglu(n, 1.702f, 7.0f, gate.data(), up.data(), y.data());
      for (const float value : y) CHECK(std::isnan(value));
      gate.assign(n, 1);
      up.assign(n, NAN);
      kernels->swiglu(n, 1.702f, 7.0f, gate.data(), up.data(), y.data());
      for (const float value : y) CHECK(std::isnan(value));
    }
  }
}

}  // namespace oss::test
