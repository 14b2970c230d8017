#include "test/kernels/metal/qkv.h"

#include <utility>

#include "native/base/error.h"

namespace oss::test {
namespace {

void check_qkv(MetalDevice& device, const QkvLayer& layer, const QkvStep& step) {
  // Of thousands of sums, the worst can have twice the usual error.
  check_qkv(device.name, layer, step, run_qkv(device, layer, step), 2 * sum_tolerance(layer.hidden));
}

}  // namespace

TEST("metal qkv: heads rotated, keys and values in their pages, in bf16 and in e4m3") {
  for_each_metal_device([](MetalDevice& device) {
    const QkvLayer layer = random_qkv_layer(96, 3, 2);
    for (const int count : {0, 1, 2, 4, 6, 8, 9, 16, 21, 33}) {
      check_qkv(device, layer, random_qkv_step(layer, count, kKvBF16, kKvWindow));
      check_qkv(device, layer, random_qkv_step(layer, count, kKvFP8, kKvFull));
    }
  });
}

TEST("metal qkv: the model's columns, and as many heads") {
  for_each_metal_device([](MetalDevice& device) {
    const QkvLayer wide = random_qkv_layer(2880, 2, 1), tall = random_qkv_layer(32, 64, 8);
    for (const QkvLayer* layer : {&wide, &tall}) {
      check_qkv(device, *layer, random_qkv_step(*layer, 1, kKvBF16, kKvFull));
      check_qkv(device, *layer, random_qkv_step(*layer, 9, kKvBF16, kKvWindow));
    }
  });
}

TEST("metal qkv: a token's bits depend on no other token, among few and among many") {
  for_each_metal_device([](MetalDevice& device) {
    const QkvLayer layer = random_qkv_layer(544, 2, 1);
    for (const auto& [most, counts] : {std::pair(8, std::vector{1, 2, 3, 5}), {36, std::vector{9, 16, 19}}}) {
      const QkvStep all = random_qkv_step(layer, most);
      const QkvResult expected = run_qkv(device, layer, all);
      for (const int count : counts) {
        const int first = (most - count) / 2;
        const QkvStep part = all.part(first, count);
        check_qkv_part(str(device.name, ": ", count, " of ", most), layer, part, run_qkv(device, layer, part), first,
                       expected);
      }
    }
  });
}

TEST("metal qkv: golden rotations up to position 131071") {
  for (const int count : {1, 8, 9, GoldenRotations::all()}) {
    const GoldenRotations golden(count);
    for_each_metal_device(
        [&](MetalDevice& device) { golden.check(device.name, run_qkv(device, golden.layer, golden.step)); });
  }
}

TEST("metal qkv_low_rank: terms of q, k and v before the rotation; tokens without one keep their bits") {
  for_each_metal_device([](MetalDevice& device) {
    const QkvLayer layer = random_qkv_layer(96, 3, 2);
    for (const int count : {1, 2, 4, 6, 12, 21, 33}) {
      check_qkv_low_rank(device.name, layer, count, 2 * sum_tolerance(layer.hidden),
                         [&](const QkvStep& step) { return run_qkv(device, layer, step); });
    }
  });
}

TEST("metal qkv_low_rank: a token's bits depend on no other token and its adapter, among few and among many") {
  for_each_metal_device([](MetalDevice& device) {
    const QkvLayer layer = random_qkv_layer(544, 2, 1);
    const int hidden = layer.hidden, width = layer.heads * kHeadDim;
    std::vector<std::vector<Term>> terms(2);
    for (uint32_t a : {0u, 1u}) {
      terms[a] = {Term(), Term(hidden, width, 3, 60 + 8 * a), Term(hidden, kHeadDim, 4, 62 + 8 * a),
                  Term(hidden, kHeadDim, 9, 64 + 8 * a)};
    }
    for (const auto& [most, least] : {std::pair(6, 1), {36, 19}}) {
      QkvStep all = random_qkv_step(layer, most);
      all.adapters.terms = terms;
      for (int t = 0; t < most; ++t) all.adapters.of_token.push_back(t % 3 - 1);
      const QkvResult expected = run_qkv(device, layer, all);
      for (int first = 0; first + least <= most; first += 5) {
        const QkvStep part = all.part(first, least);
        check_qkv_part(str(device.name, ": from ", first, " of ", most), layer, part, run_qkv(device, layer, part),
                       first, expected);
      }
    }
  });
}

TEST("metal qkv_low_rank: no barrier can be left out") {
  const QkvLayer layer = random_qkv_layer(32, 2, 1);
  const int width = layer.heads * kHeadDim;
  QkvStep step = random_qkv_step(layer, 3);
  step.adapters = {{{Term(), Term(32, width, 3, 60), Term(32, kHeadDim, 4, 62), Term(32, kHeadDim, 9, 64)}},
                   {0, -1, 0}};
  for_each_metal_device([&](MetalDevice& device) {
    for (const int missing : {1, 2}) {
      if (!drop_metal_barrier(missing)) return;
      CHECK_THROWS(Code::kDevice, "a barrier is missing", run_qkv(device, layer, step));
    }
    const int64_t before = device.encoder.barriers();
    run_qkv(device, layer, step);
    CHECK_EQ(device.encoder.barriers() - before, int64_t(2));
  });
}

}  // namespace oss::test
