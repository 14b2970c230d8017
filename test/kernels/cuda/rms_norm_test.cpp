#include "native/loader/safetensors.h"
#include "test/kernels/cuda/values.h"

namespace oss::test {
namespace {

// 2e-6 of the row's largest value is the golden set's tolerance before rounding to bf16.
constexpr double kTolerance = 2e-6;

struct Normed {
  std::vector<uint16_t> y, low;
};

Normed run_both(CudaDevice& device, const RmsNormArgs& args, int rows, const std::vector<float>& x,
                const std::vector<float>& w, bool want_low) {
  const DeviceArray<int32_t> num_rows(device, std::vector<int32_t>{rows});
  const DeviceArray<float> device_x(device, x), device_w(device, w);
  const DeviceArray<uint16_t> y(device, size_t(args.rows) * args.hidden), low(device, y.size());
  device.check(device.module.rms_norm(args, num_rows.data(), device_x.data(), device_w.data(), y.data(),
                                      want_low ? low.data() : nullptr, device.stream),
               "rms_norm");
  return {y.read(), low.read()};
}

std::vector<uint16_t> run_rms_norm(CudaDevice& device, const RmsNormArgs& args, int rows, const std::vector<float>& x,
                                   const std::vector<float>& w) {
  return run_both(device, args, rows, x, w, false).y;
}

void check_rows(const std::string& what, const std::vector<uint16_t>& actual, const std::vector<double>& expected,
                int hidden) {
  for (size_t row = 0; row < expected.size(); row += hidden) {
    const double tolerance = kTolerance * largest({expected.begin() + row, expected.begin() + row + hidden});
    for (size_t i = row; i < row + hidden; ++i) {
      if (!is_rounded(actual[i], expected[i], tolerance))
        return fail(__FILE__, __LINE__,
                    str(what, " row ", row / hidden, " column ", i - row, ": expected ", expected[i], ", got ",
                        bf16_to_f32(actual[i])));
    }
  }
  for (size_t i = expected.size(); i < actual.size(); ++i) {
    if (!is_poison(actual[i])) return fail(__FILE__, __LINE__, str(what, ": wrote past the rows, at ", i));
  }
}

}  // namespace

TEST("cuda rms_norm: golden rows, tiny, zero and large") {
  const SafetensorsFile file = read_safetensors(source_path("test/golden/kernels/rmsnorm.safetensors"));
  const HostTensor &x = file.tensors.at("x"), &w = file.tensors.at("weight"), &y = file.tensors.at("expect_f64");
  const std::vector<float> xs(x.as<float>(), x.as<float>() + x.elements()),
      ws(w.as<float>(), w.as<float>() + w.elements());
  const std::vector<double> expected(y.as<double>(), y.as<double>() + y.elements());
  for_each_cuda_device([&](CudaDevice& device) {
    const RmsNormArgs args = {int(x.shape[0]), int(x.shape[1]), 1e-5f};
    check_rows(device.name, run_rms_norm(device, args, args.rows, xs, ws), expected, args.hidden);
  });
}

TEST("cuda rms_norm: with the rounding error as a second value, 16 bits of each value") {
  for_each_cuda_device([](CudaDevice& device) {
    const int rows = 3, hidden = 160, capacity = 5;
    const std::vector<float> x = exact_values(size_t(rows) * hidden, 1, 4), w = exact_values(hidden, 2);
    const Normed both = run_both(device, {capacity, hidden, 1e-5f}, rows, x, w, true);
    CHECK(both.y == run_rms_norm(device, {capacity, hidden, 1e-5f}, rows, x, w));
    for (int t = 0; t < rows; ++t) {
      double mean = 0;
      for (int c = 0; c < hidden; ++c) mean += double(x[t * hidden + c]) * x[t * hidden + c] / hidden;
      for (int c = 0; c < hidden; ++c) {
        const double expected = x[t * hidden + c] / std::sqrt(mean + 1e-5) * w[c];
        const double sum = double(bf16_to_f32(both.y[t * hidden + c])) + bf16_to_f32(both.low[t * hidden + c]);
        // 2^-9 of 2^-9 remains, and the earlier error of float32.
        CHECK(std::abs(sum - expected) <= std::abs(expected) * (0x1p-17 + kTolerance));
      }
    }
    for (size_t i = size_t(rows) * hidden; i < both.low.size(); ++i) CHECK(is_poison(both.low[i]));
  });
}

TEST("cuda rms_norm: every width of a block, counts below the capacity, and a batch equals its rows") {
  for_each_cuda_device([](CudaDevice& device) {
    for (const int hidden : {32, 96, 128, 160, 2880, 4096}) {
      const int rows = 3;
      const std::vector<float> x = exact_values(size_t(rows) * hidden, 1, 4), w = exact_values(hidden, 2);
      std::vector<double> expected;
      for (int t = 0; t < rows; ++t) {
        double mean = 0;
        for (int c = 0; c < hidden; ++c) mean += double(x[t * hidden + c]) * x[t * hidden + c] / hidden;
        for (int c = 0; c < hidden; ++c) expected.push_back(x[t * hidden + c] / std::sqrt(mean + 1e-5) * w[c]);
      }
      const std::string what = str(device.name, ": hidden ", hidden);
      const std::vector<uint16_t> all = run_rms_norm(device, {5, hidden, 1e-5f}, rows, x, w);
      check_rows(what, all, expected, hidden);
      const std::vector<float> last(x.end() - hidden, x.end());
      const std::vector<uint16_t> alone = run_rms_norm(device, {1, hidden, 1e-5f}, 1, last, w);
      CHECK(std::memcmp(alone.data(), all.data() + (rows - 1) * hidden, hidden * 2) == 0);
    }
  });
}

}  // namespace oss::test
