#include <cstring>
#include <tuple>
#include <utility>

#include "test/kernels/cuda/values.h"
#include "test/kernels/gpu/linear_problem.h"

namespace oss::test {
namespace {

// y [capacity, out]; rows past p.rows keep their poison.
std::vector<float> run_linear(CudaDevice& device, const LinearProblem& p, int capacity,
                              const LinearOperands& operands) {
  const DeviceArray<int32_t> num_rows(device, std::vector<int32_t>{p.rows});
  const DeviceArray<uint16_t> x(device, to_bf16(operands.x)), x_low(device, to_bf16(operands.x_low)),
      raw(device, to_bf16(operands.w));
  const DeviceArray<float> bias(device, operands.bias);
  const DeviceArray<uint8_t> w(device, cuda::packed_matrix_bytes(p.out, p.in));
  DeviceArray<float> y(device, size_t(capacity) * p.out);
  if (p.accumulate) y.write(operands.y);
  const cuda::PackMatrixArgs pack = {p.out, p.in, cuda::kRowsPlain};
  device.check(device.module.pack_matrix(pack, raw.data(), w.data(), device.stream), "pack_matrix");
  device.synchronize();  // weights are complete before a step begins
  const LinearArgs args = {capacity, p.in, p.out, p.accumulate};
  device.check(device.module.linear(args, num_rows.data(), x.data(), p.paired ? x_low.data() : nullptr, w.data(),
                                    p.biased ? bias.data() : nullptr, y.data(), {raw.data(), raw.bytes() / 16 * 16},
                                    device.stream),
               "linear");
  return y.read();
}

void check_linear(CudaDevice& device, int capacity, const LinearProblem& p) {
  const LinearOperands operands(p);
  check_linear(str(device.name, ", room for ", capacity), p, operands, run_linear(device, p, capacity, operands),
               matrix_tolerance(p.in));
}

}  // namespace

TEST("cuda linear: numbers of rows around every tile, with room for just them") {
  for_each_cuda_device([](CudaDevice& device) {
    for (const int rows : {1, 2, 7, 8, 9, 16, 17, 32, 33, 64, 65, 130}) check_linear(device, rows, {rows, 96, 96});
    check_linear(device, 257, {257, 64, 144, true});
  });
}

TEST("cuda linear: any number of columns and outputs, with and without bias, assigned and added") {
  for_each_cuda_device([](CudaDevice& device) {
    for (const int in : {32, 64, 96, 160}) {
      for (const int out : {5, 16, 96, 301}) {
        const bool accumulate = in / 32 % 2 != 0;
        check_linear(device, 8, {3, in, out, accumulate, out != 16});
        check_linear(device, 32, {19, in, out, accumulate, out != 96});
        check_linear(device, 64, {9, in, out, !accumulate, out != 301});
        if (out != 16) check_linear(device, 300, {6, in, out, accumulate, out != 5});
      }
    }
    check_linear(device, 4, {3, 2880, 48, true});
    check_linear(device, 64, {3, 2880, 16});
  });
}

TEST("cuda linear: 16 bits of each value, in two columns") {
  for_each_cuda_device([](CudaDevice& device) {
    for (const int rows : {1, 3, 4, 5, 8, 16, 17, 40, 65, 130}) {
      check_linear(device, rows, {rows, 96, 40, rows % 2 != 0, rows % 3 != 0, true});
      check_linear(device, rows + 9, {rows, 64, 5, false, true, true});
    }
  });
}

TEST("cuda linear: counts below the capacity, none included") {
  for_each_cuda_device([](CudaDevice& device) {
    for (const int capacity : {8, 16, 32, 256, 257}) {
      for (const int rows : {0, 1, 8}) check_linear(device, capacity, {rows, 64, 16});
    }
    check_linear(device, 400, {65, 64, 16});
  });
}

TEST("cuda linear: a row's bits depend on no other row and on no capacity") {
  for_each_cuda_device([](CudaDevice& device) {
    for (const auto& [in, out, paired] : {std::tuple(96, 37, false), {2880, 16, false}, {96, 37, true}}) {
      const int most = in > 1000 ? 20 : 140;
      const LinearProblem all = {most, in, out, true, true, paired};
      const LinearOperands operands(all);
      const std::vector<float> expected = run_linear(device, all, 300, operands);
      for (const auto& [capacity, rows] :
           {std::pair(1, 1), {8, 5}, {16, 16}, {16, 3}, {32, 18}, {32, 1}, {64, 20}, {140, 140}, {256, 2}, {300, 7}}) {
        if (rows > most) continue;
        const int first = (most - rows) / 2;  // at other places in the tiles, too
        LinearProblem p = all;
        p.rows = rows;
        check_linear_part(str(device.name, ", room for ", capacity), p, first, rows,
                          run_linear(device, p, capacity, operands.part(p, first, rows)), expected);
      }
    }
  });
}

TEST("cuda norm_linear: bit for bit the results of rms_norm and linear, and the same normed rows") {
  for_each_cuda_device([](CudaDevice& device) {
    for (const auto& [rows, capacity, in, out] : {std::tuple(1, 1, 2880, 37),
                                                  {1, 8, 96, 160},
                                                  {3, 4, 64, 5},
                                                  {5, 5, 256, 300},
                                                  {8, 8, 1056, 16},
                                                  {9, 9, 96, 48},
                                                  {16, 16, 320, 128},
                                                  {2, 16, 32, 33},
                                                  {0, 3, 64, 16},
                                                  {17, 17, 96, 16}}) {
      const LinearArgs args = {capacity, in, out, 0};
      const float eps = 1e-5f;
      const DeviceArray<int32_t> num_rows(device, std::vector<int32_t>{rows});
      const DeviceArray<float> x(device, exact_values(size_t(capacity) * in, 11)), norm(device, exact_values(in, 12)),
          bias(device, exact_values(out, 13));
      const DeviceArray<uint16_t> raw(device, to_bf16(exact_values(size_t(out) * in, 14)));
      const DeviceArray<uint8_t> w(device, cuda::packed_matrix_bytes(out, in));
      device.check(device.module.pack_matrix({out, in, cuda::kRowsPlain}, raw.data(), w.data(), device.stream), "pack");
      const DeviceArray<uint16_t> normed(device, size_t(capacity) * in), low(device, size_t(capacity) * in),
          fused_normed(device, size_t(capacity) * in);
      const DeviceArray<float> y(device, size_t(capacity) * out), fused_y(device, size_t(capacity) * out);
      device.check(device.module.rms_norm({capacity, in, eps}, num_rows.data(), x.data(), norm.data(), normed.data(),
                                          low.data(), device.stream),
                   "rms_norm");
      device.check(device.module.linear(args, num_rows.data(), normed.data(), low.data(), w.data(), bias.data(),
                                        y.data(), {}, device.stream),
                   "linear");
      device.check(device.module.norm_linear(args, eps, num_rows.data(), x.data(), norm.data(), w.data(), bias.data(),
                                             fused_normed.data(), fused_y.data(), device.stream),
                   "norm_linear");
      const std::string what = str(device.name, ": rows ", rows, " of ", capacity, ", in ", in, ", out ", out);
      if (fused_y.read() != y.read() && std::memcmp(fused_y.read().data(), y.read().data(), y.bytes()) != 0)
        return fail(__FILE__, __LINE__, what + ": other sums");
      if (fused_normed.read() != normed.read()) return fail(__FILE__, __LINE__, what + ": other normed rows");
    }
  });
}

TEST("cuda pack_matrix: every element at its place, in every order of rows, and zeros behind the last row") {
  for_each_cuda_device([](CudaDevice& device) {
    for (const auto& [rows, cols, order] : {std::tuple(5, 32, cuda::kRowsPlain),
                                            {48, 96, cuda::kRowsPlain},
                                            {128, 64, cuda::kRowsRope},
                                            {32, 160, cuda::kRowsGateUp}}) {
      std::vector<uint16_t> raw;
      for (int i = 0; i < rows * cols; ++i) raw.push_back(uint16_t(i + 1));
      const DeviceArray<uint16_t> from(device, raw);
      const DeviceArray<uint16_t> packed(device, cuda::packed_matrix_bytes(rows, cols) / 2);
      device.check(device.module.pack_matrix({rows, cols, order}, from.data(), packed.data(), device.stream),
                   "pack_matrix");
      const std::vector<uint16_t> actual = packed.read();
      // Each element of A, by the definition of the fragment in ptx/mma.cuh.
      for (int tile = 0; tile < (rows + 15) / 16; ++tile) {
        for (int row = 0; row < 16; ++row) {
          int source = tile * 16 + row;
          if (order == cuda::kRowsRope) source = tile / 4 * 64 + tile % 4 * 8 + row % 8 + row / 8 * 32;
          if (order == cuda::kRowsGateUp) source = tile * 16 + 2 * (row % 8) + row / 8;
          for (int col = 0; col < cols; ++col) {
            const int lane = row % 8 * 4 + col % 32 / 8, step = col % 8 / 4, pair = col % 4 / 2;
            const int slot = 2 * (row / 8 + 2 * pair) + col % 2;
            const size_t at = (((size_t(tile) * (cols / 32) + col / 32) * 2 + step) * 32 + lane) * 8 + slot;
            const uint16_t expected = source < rows ? raw[size_t(source) * cols + col] : 0;
            if (actual.at(at) != expected)
              return fail(__FILE__, __LINE__,
                          str("order ", order, ", tile ", tile, ", row ", row, ", column ", col, ": expected ",
                              expected, ", got ", actual[at]));
          }
        }
      }
    }
  });
}

}  // namespace oss::test
