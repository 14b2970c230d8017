#include "test/kernels/support.h"

namespace oss::test {

static void check_router(const SafetensorsFile& file, const std::string& name) {
  const HostTensor &logits = file.tensors.at(name), &index = file.tensors.at(name + "_index");
  const std::vector<float> x = floats(logits);
  const std::vector<double> expected = doubles(file.tensors.at(name + "_weight"));
  const RouterArgs args = {int(logits.shape[0]), int(logits.shape[1]), 4};
  for (const cpu::Kernels* kernels : cpu::available_kernels()) {
    std::vector<int32_t> chosen(expected.size());
    std::vector<float> weight(expected.size());
    kernels->router(args, x.data(), chosen.data(), weight.data());
    for (size_t i = 0; i < chosen.size(); ++i) CHECK_EQ(chosen[i], index.as<int32_t>()[i]);
    CHECK_CLOSE(str(kernels->isa, " ", name), weight.data(), expected.data(), weight.size(), 0, 3e-7);
  }
}

TEST("router: golden logits") { check_router(golden("router"), "plain"); }
TEST("router: golden ties, the lower expert first") { check_router(golden("router"), "ties"); }

// Of two experts the weaker has weight e / (1 + e) with e = exp(difference). This measures the vector exp, including
// subnormals.
TEST("router: exp to 2 units in the last place over its whole range") {
  std::vector<float> logits;
  for (double difference = 0; difference > -104; difference -= 0.0103) {
    logits.push_back(0);
    logits.push_back(float(difference));
  }
  const int tokens = int(logits.size() / 2);
  for (const cpu::Kernels* kernels : cpu::available_kernels()) {
    std::vector<int32_t> index(logits.size());
    std::vector<float> weight(logits.size());
    kernels->router({tokens, 2, 2}, logits.data(), index.data(), weight.data());
    double worst = 0, worst_subnormal = 0;
    for (int t = 0; t < tokens; ++t) {
      const double e = std::exp(double(logits[2 * t + 1])), expected = e / (1 + e), got = weight[2 * t + 1];
      const double error = std::fabs(got - expected);
      if (expected >= 0x1p-126) {
        worst = std::max(worst, error / expected);
      } else {
        worst_subnormal = std::max(worst_subnormal, error);
      }
    }
    // One unit is at most 2^-23 of the value; the sum 1 + e and the division round once more each.
    CHECK(worst <= 2.5 * 0x1p-23);
    CHECK(worst_subnormal <= 0x1p-149);
  }
}

TEST("router: all experts chosen, equal logits in order") {
  const std::vector<float> logits(6, 2.5f);
  for (const cpu::Kernels* kernels : cpu::available_kernels()) {
    int32_t index[6];
    float weight[6];
    kernels->router({1, 6, 6}, logits.data(), index, weight);
    for (int k = 0; k < 6; ++k) {
      CHECK_EQ(index[k], k);
      CHECK_EQ(weight[k], 1.0f / 6.0f);
    }
  }
}

}  // namespace oss::test
