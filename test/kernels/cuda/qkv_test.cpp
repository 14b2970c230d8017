#include <tuple>
#include <utility>

#include "test/kernels/cuda/low_rank.h"
#include "test/kernels/gpu/qkv_layer.h"

namespace oss::test {
namespace {

// The form of x: rows as they are, or float32 rows that are normed by a separate launch or by norm_qkv.
enum class Rows { kGiven, kNormed, kNormedOnTheWay };

// q and the cache of a step with room for `capacity` tokens.
QkvResult run_qkv(CudaDevice& device, const QkvLayer& layer, const QkvStep& step, int capacity,
                  Rows rows = Rows::kGiven) {
  const int hidden = layer.hidden, heads = layer.heads, kv_heads = layer.kv_heads;
  const DeviceArray<uint16_t> raw(device, to_bf16(layer.w)), x(device, to_bf16(step.x));
  const DeviceArray<uint8_t> packed(device, cuda::packed_matrix_bytes(layer.rows(), hidden));
  const int rotated = (heads + kv_heads) * kHeadDim;
  device.check(device.module.pack_matrix({rotated, hidden, cuda::kRowsRope}, raw.data(), packed.data(), device.stream),
               "pack_matrix of q and k");
  device.check(
      device.module.pack_matrix({kv_heads * kHeadDim, hidden, cuda::kRowsPlain}, raw.data() + size_t(rotated) * hidden,
                                packed.data() + cuda::packed_matrix_bytes(rotated, hidden), device.stream),
      "pack_matrix of v");
  const DeviceCounts counts(device, step.size());
  const DeviceArray<int32_t> positions(device, step.positions), sequence(device, step.sequence),
      table(device, step.block_table);
  const DeviceArray<float> rope(device, step.rope), bias(device, layer.bias);
  cuda::DeviceStep there{};
  there.counts = counts.data();
  there.positions = positions.data();
  there.sequence = sequence.data();
  there.block_tables[step.group] = table.data();
  there.rope = rope.data();
  there.max_pages = step.max_pages;
  const DeviceArray<uint16_t> q(device, size_t(capacity) * heads * kHeadDim);
  const DeviceArray<uint8_t> cache(device, step.cache_bytes(layer));
  const QkvArgs args = {capacity, hidden, heads, kv_heads, kHeadDim, step.group, step.type};
  const float eps = 1e-5f;
  const DeviceArray<float> float_x(device, step.x), norm(device, exact_values(size_t(hidden), 99));
  if (rows == Rows::kNormed) {
    device.check(device.module.rms_norm({step.size(), hidden, eps}, &counts.data()->tokens, float_x.data(), norm.data(),
                                        x.data(), nullptr, device.stream),
                 "rms_norm");
  }
  if (rows == Rows::kNormedOnTheWay) {
    device.check(device.module.norm_qkv(args, eps, there, float_x.data(), norm.data(), packed.data(), bias.data(),
                                        q.data(), cache.data(), device.stream),
                 "norm_qkv");
  } else if (step.adapted()) {
    const DeviceAdapters on_device(device, step.adapters, size_t(capacity) * 3);
    device.check(device.module.qkv_low_rank(args, there, on_device.step(), 1, x.data(), packed.data(), bias.data(),
                                            q.data(), cache.data(), device.stream),
                 "qkv_low_rank");
    device.synchronize();
  } else {
    device.check(
        device.module.qkv(args, there, x.data(), packed.data(), bias.data(), q.data(), cache.data(), device.stream),
        "qkv");
  }
  return {q.read(), cache.read()};
}

}  // namespace

TEST("cuda qkv: heads rotated, keys and values in their pages, in bf16 and in e4m3") {
  for_each_cuda_device([](CudaDevice& device) {
    const QkvLayer layer = random_qkv_layer(96, 3, 2);
    for (const auto& [capacity, count] : {std::pair(1, 1), {8, 6}, {16, 16}, {32, 21}, {64, 33}, {300, 12}}) {
      for (const auto& [type, group] : {std::pair(kKvBF16, kKvWindow), {kKvFP8, kKvFull}}) {
        const QkvStep step = random_qkv_step(layer, count, type, group);
        check_qkv(str(device.name, ", room for ", capacity), layer, step, run_qkv(device, layer, step, capacity),
                  matrix_tolerance(layer.hidden));
      }
    }
  });
}

TEST("cuda qkv: a token's bits depend on no other token and on no capacity") {
  for_each_cuda_device([](CudaDevice& device) {
    const QkvLayer layer = random_qkv_layer(160, 2, 1);
    const int most = 40;
    const QkvStep all = random_qkv_step(layer, most);
    const QkvResult expected = run_qkv(device, layer, all, 300);
    for (const auto& [capacity, count] : {std::pair(1, 1), {8, 8}, {16, 9}, {32, 32}, {64, 40}, {300, 3}}) {
      const int first = (most - count) / 2;
      const QkvStep part = all.part(first, count);
      check_qkv_part(str(device.name, ": ", count, " of ", capacity), layer, part,
                     run_qkv(device, layer, part, capacity), first, expected);
    }
  });
}

TEST("cuda qkv_low_rank: terms of q, k and v before the rotation; tokens without one keep their bits") {
  for_each_cuda_device([](CudaDevice& device) {
    const QkvLayer layer = random_qkv_layer(96, 3, 2);
    for (const auto& [capacity, count] : {std::pair(1, 1), {8, 6}, {32, 21}, {64, 33}, {300, 12}}) {
      const auto run = [&](const QkvStep& step) { return run_qkv(device, layer, step, capacity); };
      check_qkv_low_rank(str(device.name, ", room for ", capacity), layer, count, matrix_tolerance(layer.hidden), run);
    }
  });
}

TEST("cuda norm_qkv: bit for bit the results of rms_norm and qkv") {
  for (const auto& [hidden, heads, kv_heads, capacity, count, type] : {std::tuple(96, 2, 1, 1, 1, kKvBF16),
                                                                       {256, 4, 2, 8, 5, kKvBF16},
                                                                       {2880, 1, 1, 2, 2, kKvFP8},
                                                                       {160, 2, 2, 9, 9, kKvBF16},
                                                                       {128, 3, 1, 16, 16, kKvFP8},
                                                                       {32, 1, 1, 16, 0, kKvBF16}}) {
    const QkvLayer layer = random_qkv_layer(hidden, heads, kv_heads);
    const QkvStep step = random_qkv_step(layer, count, type);
    for_each_cuda_device([&](CudaDevice& device) {
      const QkvResult expected = run_qkv(device, layer, step, capacity, Rows::kNormed);
      const QkvResult actual = run_qkv(device, layer, step, capacity, Rows::kNormedOnTheWay);
      if (actual.q != expected.q || actual.cache != expected.cache)
        return fail(__FILE__, __LINE__, str(device.name, ": ", count, " tokens of ", capacity, ", hidden ", hidden));
    });
  }
}

TEST("cuda qkv: golden rotations up to position 131071") {
  const GoldenRotations golden(GoldenRotations::all());
  for_each_cuda_device([&](CudaDevice& device) {
    golden.check(device.name, run_qkv(device, golden.layer, golden.step, golden.step.size()));
  });
}

}  // namespace oss::test
