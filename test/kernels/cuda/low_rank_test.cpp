#include "test/kernels/cuda/low_rank.h"
#include "test/kernels/gpu/low_rank_problem.h"

namespace oss::test {
namespace {

// The terms number 1.
std::vector<float> run(CudaDevice& device, const LowRankShape& s, const std::vector<std::vector<Term>>& terms,
                       const LowRankRows& rows, int capacity) {
  const DeviceAdapters on_device(device, {terms, rows.adapters}, size_t(capacity));
  const auto with_room = [&]<typename T>(const std::vector<T>& values, int width) {
    auto array = std::make_unique<DeviceArray<T>>(device, size_t(capacity) * width);
    array->write(values);
    return array;
  };
  const auto x = with_room(to_bf16(rows.x), s.in), x_low = with_room(to_bf16(rows.x_low), s.in);
  const auto token_of_row = with_room(rows.token_of_row, 1);
  const auto y = with_room(rows.before, s.out);
  const DeviceArray<int32_t> count(device, std::vector<int32_t>{rows.size()});
  device.check(
      device.module.low_rank({.rows = capacity, .in = s.in, .out = s.out, .number = 1}, on_device.step(), count.data(),
                             rows.token_of_row.empty() ? nullptr : token_of_row->data(), x->data(),
                             rows.x_low.empty() ? nullptr : x_low->data(), y->data(), device.stream),
      "low_rank");
  std::vector<float> out = y->read();
  for (size_t i = size_t(rows.size()) * s.out; i < out.size(); ++i) {
    if (!is_poison(out[i])) fail(__FILE__, __LINE__, str(device.name, ": wrote past the rows, at ", i));
  }
  out.resize(size_t(rows.size()) * s.out);
  return out;
}

}  // namespace

TEST("cuda low_rank: any rank, rows with and without a term, of tokens and of logits, alone and together") {
  for (const LowRankShape& s :
       {LowRankShape{64, 96, 1}, {96, 33, 3}, {128, 520, 16}, {2880, 32, 8}, {32, 7, 70}, {64, 300, 1024}}) {
    const std::vector<int> adapters = {0, 0, -1, 1, 0, 2, 0, 1, 1, -1};
    for (const bool of_logits : {false, true}) {
      const LowRankRows rows(s, adapters, of_logits,
                             of_logits ? std::vector<int32_t>{3, 2, 9, 0, 5, 8} : std::vector<int32_t>{});
      for_each_cuda_device([&](CudaDevice& device) {
        const std::string what =
            str(device.name, ": ", s.in, " to ", s.out, " by ", s.rank, of_logits ? ", logits" : "");
        check_low_rank(what, s, rows, matrix_tolerance(s.in + s.rank), [&](const auto& terms, const LowRankRows& of) {
          const std::vector<float> y = run(device, s, terms, of, rows.size());
          CHECK_BITS(what + ", other grids", run(device, s, terms, of, 70), y);
          return y;
        });
      });
    }
  }
}

TEST("cuda low_rank: refuses rows that no load of 16 bytes divides") {
  for_each_cuda_device([](CudaDevice& device) {
    CHECK(device.module.low_rank({.rows = 1, .in = 12, .out = 8, .number = 0}, {}, nullptr, nullptr, nullptr, nullptr,
                                 nullptr, device.stream) != 0);
  });
}

}  // namespace oss::test
