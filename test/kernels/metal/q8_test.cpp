// The dense kernels with weights in Q8, except for linear.
#include "test/kernels/metal/q8.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "test/kernels/metal/qkv.h"

namespace oss::test {

TEST("metal q8 embed: exactly code times scale, of tokens given or drawn before") {
  for_each_metal_device([](MetalDevice& device) {
    const int vocab = 11;
    const std::vector<int32_t> given = {10, -1, 3}, ids = {10, 7, 3};
    std::vector<SampleResult> drawn(1);
    drawn[0].token = 7;
    const MetalArray<int32_t> token_ids(device, given);
    const MetalArray<SampleResult> drawn_there(device, drawn);
    for (const int hidden : {32, 2880, 3200}) {
      const Q8Values table(vocab, hidden, 1);
      const Q8Array table_there(device, table);
      metal::StepArrays step;
      step.tokens = int(ids.size());
      step.token_ids = token_ids.data();
      step.drawn = drawn_there.data();
      step.drawn_rows = 1;
      const MetalArray<float> x(device, (ids.size() + 1) * size_t(hidden));
      metal::embed(device.encoder, {step.tokens, hidden}, step, table_there.rows(), vocab, x.data());
      check_rows(device.name, x.read(), table.values(), hidden, ids);
    }
  });
}

// With codes and scales that bf16 holds exactly, the plain kernels have the same weights.
TEST("metal q8 qkv: any of the matrices in Q8, and each token's bits depend on no other token") {
  QkvLayer layer = {1056, 3, 2, {}, {}};
  std::vector<Q8Values> matrices;
  for (const int heads : {layer.heads, layer.kv_heads, layer.kv_heads}) {
    const uint32_t m = uint32_t(matrices.size());
    Q8Values& matrix = matrices.emplace_back(heads * kHeadDim, layer.hidden, m + 1);
    for (uint16_t& scale : matrix.scales) scale = uint16_t((scale & 0x1C00) + (4 << 10));  // powers of two
    const std::vector<float> w = matrix.values(), bias = exact_values(size_t(matrix.rows), m);
    layer.w.insert(layer.w.end(), w.begin(), w.end());
    layer.bias.insert(layer.bias.end(), bias.begin(), bias.end());
  }
  for_each_metal_device([&](MetalDevice& device) {
    const MetalQkvLayer plain_there(device, layer);
    const Q8Array q(device, matrices[0]), k(device, matrices[1]), v(device, matrices[2]);
    // in_q8: bits of q, k and v
    const auto run = [&](const QkvStep& step, unsigned in_q8) {
      metal::QkvMatrices mixed = plain_there.matrices();
      if ((in_q8 & 1) != 0) mixed.q = q.rows();
      if ((in_q8 & 2) != 0) mixed.k = k.rows();
      if ((in_q8 & 4) != 0) mixed.v = v.rows();
      return run_qkv(device, layer, mixed, step);
    };
    const auto values = [](const QkvResult& result) {
      std::vector<uint16_t> all(result.q.size() + result.cache.size() / 2);
      std::ranges::copy(result.q, all.begin());
      std::memcpy(all.data() + result.q.size(), result.cache.data(), result.cache.size());
      return all;
    };
    const double tolerance = 0x1p-7;  // a step of bf16, where two sums are rounded to neighbors
    for (const int tokens : {1, 2, 4, 7, 12, 33}) {
      const QkvStep step = random_qkv_step(layer, tokens);
      const std::vector<uint16_t> plain = values(run(step, 0));
      for (const unsigned in_q8 : {7u, 1u, 4u, 5u}) {
        const std::vector<uint16_t> mixed = values(run(step, in_q8));
        for (size_t i = 0; i < plain.size(); ++i) {
          const double value = bf16_to_f32(plain[i]), error = std::abs(bf16_to_f32(mixed[i]) - value);
          // The sums of large products that cancel out have no more digits than those.
          if (plain[i] != mixed[i] && !(error <= tolerance * std::abs(value) + 1e-3))
            return fail(__FILE__, __LINE__,
                        str(device.name, ": ", tokens, " tokens, matrices ", in_q8, ", element ", i, " is ",
                            bf16_to_f32(mixed[i]), ", not ", value));
        }
      }
    }
    for (const auto& [most, counts] : {std::pair(8, std::vector{1, 2, 3, 5}), {40, std::vector{9, 17}}}) {
      const QkvStep all = random_qkv_step(layer, most);
      const QkvResult expected = run(all, 7);
      for (const int count : counts) {
        const QkvStep part = all.part(0, count);
        check_qkv_part(str(device.name, ": ", count, " of ", most), layer, part, run(part, 7), 0, expected);
      }
    }
  });
}

}  // namespace oss::test
