#include "test/kernels/metal/support.h"

namespace oss::test {

TEST("metal rms_norm: golden rows, tiny, zero and large") {
  const SafetensorsFile file = golden("rmsnorm");
  const std::vector<float> x = floats(file.tensors.at("x")), w = floats(file.tensors.at("weight"));
  const std::vector<double> expected = doubles(file.tensors.at("expect_f64"));
  const RmsNormArgs args = {int(file.tensors.at("x").shape[0]), int(w.size()), 1e-5f};
  for_each_metal_device([&](MetalDevice& device) {
    const MetalArray<float> x_there(device, x), w_there(device, w);
    const MetalArray<uint16_t> y(device, x.size()), y_low(device, x.size());
    metal::rms_norm(device.encoder, args, x_there.data(), w_there.data(), y.data(), y_low.data());
    std::vector<float> high, sum;
    const std::vector<uint16_t> bits = y.read(), low = y_low.read();
    for (size_t i = 0; i < bits.size(); ++i) {
      high.push_back(bf16_to_f32(bits[i]));
      sum.push_back(bf16_to_f32(bits[i]) + bf16_to_f32(low[i]));
    }
    // Row by row, because their sizes differ. A value keeps 8 bits; with its rest, 16.
    for (int t = 0; t < args.rows; ++t) {
      const size_t at = size_t(t) * args.hidden;
      CHECK_CLOSE(str(device.name, " row ", t), high.data() + at, expected.data() + at, args.hidden, 0, 0x1p-8 + 2e-6);
      CHECK_CLOSE(str(device.name, " row ", t), sum.data() + at, expected.data() + at, args.hidden, 0, 0x1p-16 + 2e-6);
    }
  });
}

TEST("metal rms_norm: any row length, and a batch equals its rows") {
  for_each_metal_device([](MetalDevice& device) {
    for (const int hidden : {4, 96, 160, 1024, 2880}) {
      const int rows = 3;
      const std::vector<float> x = random_floats(size_t(rows) * hidden, 1), w = random_floats(hidden, 2);
      const MetalArray<float> x_there(device, x), w_there(device, w);
      const MetalArray<uint16_t> y(device, x.size()), alone(device, x.size());
      metal::rms_norm(device.encoder, {rows, hidden, 1e-5f}, x_there.data(), w_there.data(), y.data(), nullptr);
      for (int t = 0; t < rows; ++t) {
        metal::rms_norm(device.encoder, {1, hidden, 1e-5f}, x_there.data() + t * hidden, w_there.data(),
                        alone.data() + t * hidden, nullptr);
      }
      CHECK(y.read() == alone.read());
      for (int t = 0; t < rows; ++t) {
        double mean = 0;
        for (int c = 0; c < hidden; ++c) mean += double(x[t * hidden + c]) * x[t * hidden + c] / hidden;
        std::vector<double> expected;
        std::vector<float> actual;
        for (int c = 0; c < hidden; ++c) {
          expected.push_back(x[t * hidden + c] / std::sqrt(mean + 1e-5) * w[c]);
          actual.push_back(bf16_to_f32(y.data()[t * hidden + c]));
        }
        CHECK_CLOSE(str(device.name, " hidden ", hidden), actual.data(), expected.data(), expected.size(), 0,
                    0x1p-8 + 2e-6);
      }
    }
  });
}

}  // namespace oss::test
