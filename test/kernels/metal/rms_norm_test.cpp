#include "test/kernels/gpu/norm_problem.h"
#include "test/kernels/metal/support.h"

namespace oss::test {
namespace {

// Row by row, because their sizes differ. 2e-6 is the golden set's tolerance before rounding.
void check_normed(const std::string& what, const NormProblem& p, const std::vector<float>& actual, double rounding) {
  for (int t = 0; t < p.rows; ++t) {
    const size_t at = size_t(t) * p.hidden;
    CHECK_CLOSE(str(what, " row ", t), actual.data() + at, p.expected.data() + at, p.hidden, 0, rounding + 2e-6);
  }
}

}  // namespace

TEST("metal rms_norm: golden rows, tiny, zero and large") {
  const NormProblem p = golden_norm();
  for_each_metal_device([&](MetalDevice& device) {
    const MetalArray<float> x(device, p.x), w(device, p.w);
    const MetalArray<uint16_t> y(device, p.x.size()), y_low(device, p.x.size());
    metal::rms_norm(device.encoder, p.args(), x.data(), w.data(), y.data(), y_low.data());
    const std::vector<float> high = from_bf16(y.read()), low = from_bf16(y_low.read());
    std::vector<float> sum = high;
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += low[i];
    // A value keeps 8 bits; with its rest, 16.
    check_normed(device.name, p, high, 0x1p-8);
    check_normed(device.name + " with the rest", p, sum, 0x1p-16);
  });
}

TEST("metal rms_norm: any row length, and a batch equals its rows") {
  for_each_metal_device([](MetalDevice& device) {
    for (const int hidden : {4, 96, 160, 1024, 2880}) {
      const NormProblem p = random_norm(3, hidden);
      const MetalArray<float> x(device, p.x), w(device, p.w);
      const MetalArray<uint16_t> y(device, p.x.size()), alone(device, p.x.size());
      metal::rms_norm(device.encoder, p.args(), x.data(), w.data(), y.data(), nullptr);
      for (int t = 0; t < p.rows; ++t) {
        metal::rms_norm(device.encoder, {1, hidden, p.kEps}, x.data() + t * hidden, w.data(), alone.data() + t * hidden,
                        nullptr);
      }
      CHECK(y.read() == alone.read());
      check_normed(str(device.name, " hidden ", hidden), p, from_bf16(y.read()), 0x1p-8);
    }
  });
}

}  // namespace oss::test
