#include "test/kernels/cuda/values.h"
#include "test/kernels/gpu/norm_problem.h"

namespace oss::test {
namespace {

// 2e-6 of the row's largest value is the golden set's tolerance before rounding to bf16.
constexpr double kTolerance = 2e-6;

struct Normed {
  std::vector<uint16_t> y, low;
};

// Of a step with room for `capacity` rows.
Normed run_both(CudaDevice& device, const NormProblem& p, int capacity, bool want_low = true) {
  const DeviceArray<int32_t> num_rows(device, std::vector<int32_t>{p.rows});
  const DeviceArray<float> x(device, p.x), w(device, p.w);
  const DeviceArray<uint16_t> y(device, size_t(capacity) * p.hidden), low(device, y.size());
  device.check(device.module.rms_norm({capacity, p.hidden, p.kEps}, num_rows.data(), x.data(), w.data(), y.data(),
                                      want_low ? low.data() : nullptr, device.stream),
               "rms_norm");
  return {y.read(), low.read()};
}

std::vector<uint16_t> run_rms_norm(CudaDevice& device, const NormProblem& p, int capacity) {
  return run_both(device, p, capacity, false).y;
}

void check_normed(const std::string& what, const NormProblem& p, const std::vector<uint16_t>& actual) {
  const size_t hidden = size_t(p.hidden), written = p.expected.size();
  for (size_t row = 0; row < written; row += hidden) {
    const double tolerance = kTolerance * largest({p.expected.begin() + row, p.expected.begin() + row + hidden});
    for (size_t i = row; i < row + hidden; ++i) {
      if (!is_rounded(actual[i], p.expected[i], tolerance))
        return fail(__FILE__, __LINE__,
                    str(what, " row ", row / hidden, " column ", i - row, ": expected ", p.expected[i], ", got ",
                        bf16_to_f32(actual[i])));
    }
  }
  for (size_t i = written; i < actual.size(); ++i) {
    if (!is_poison(actual[i])) return fail(__FILE__, __LINE__, str(what, ": wrote past the rows, at ", i));
  }
}

}  // namespace

TEST("cuda rms_norm: golden rows, tiny, zero and large") {
  const NormProblem p = golden_norm();
  for_each_cuda_device([&](CudaDevice& device) { check_normed(device.name, p, run_rms_norm(device, p, p.rows)); });
}

TEST("cuda rms_norm: with the rounding error as a second value, 16 bits of each value") {
  const NormProblem p = random_norm(3, 160);
  for_each_cuda_device([&](CudaDevice& device) {
    const int capacity = 5;
    const Normed both = run_both(device, p, capacity);
    CHECK(both.y == run_rms_norm(device, p, capacity));
    for (size_t i = 0; i < p.expected.size(); ++i) {
      const double sum = double(bf16_to_f32(both.y[i])) + bf16_to_f32(both.low[i]);
      // 2^-9 of 2^-9 remains, and the earlier error of float32.
      CHECK(std::abs(sum - p.expected[i]) <= std::abs(p.expected[i]) * (0x1p-17 + kTolerance));
    }
    for (size_t i = p.expected.size(); i < both.low.size(); ++i) CHECK(is_poison(both.low[i]));
  });
}

TEST("cuda rms_norm: every width of a block, counts below the capacity, and a batch equals its rows") {
  for (const int hidden : {32, 96, 128, 160, 2880, 4096}) {
    const NormProblem p = random_norm(3, hidden);
    NormProblem last = p;
    last.rows = 1;
    last.x = rows_of(p.x, hidden, p.rows - 1, 1);
    for_each_cuda_device([&](CudaDevice& device) {
      const std::vector<uint16_t> all = run_rms_norm(device, p, 5);
      check_normed(str(device.name, ": hidden ", hidden), p, all);
      CHECK(run_rms_norm(device, last, 1) == rows_of(all, hidden, p.rows - 1, 1));
    });
  }
}

}  // namespace oss::test
