// The matrices of a layer and a step's queries, keys and values on a Metal device.
#pragma once
#include <cmath>
#include <vector>

#include "test/kernels/gpu/qkv_layer.h"
#include "test/kernels/metal/low_rank.h"

namespace oss::test {

// Each matrix alone, aligned to 8 bytes and not to more, and not followed by another.
class MetalQkvLayer {
 public:
  MetalQkvLayer(MetalDevice& device, const QkvLayer& layer)
      : q_(device, layer, 0, layer.heads),
        k_(device, layer, layer.heads, layer.kv_heads),
        v_(device, layer, layer.heads + layer.kv_heads, layer.kv_heads) {}
  metal::QkvMatrices matrices() const {
    return {q_.rows(), k_.rows(), v_.rows(), q_.bias.data(), k_.bias.data(), v_.bias.data()};
  }

 private:
  struct Matrix {
    static constexpr size_t kShift = 4;
    const MetalArray<uint16_t> w;
    const MetalArray<float> bias;

    Matrix(MetalDevice& device, const QkvLayer& layer, int first_head, int heads)
        : w(device, shifted(rows_of(layer.w, kHeadDim * layer.hidden, first_head, heads))),
          bias(device, rows_of(layer.bias, kHeadDim, first_head, heads)) {}
    metal::Rows rows() const { return w.data() + kShift; }
    static std::vector<uint16_t> shifted(std::vector<float> values) {
      values.insert(values.begin(), kShift, NAN);
      return to_bf16(values);
    }
  };
  const Matrix q_, k_, v_;
};

// `layer` has the sizes; q has a row past the tokens.
inline QkvResult run_qkv(MetalDevice& device, const QkvLayer& layer, const metal::QkvMatrices& matrices,
                         const QkvStep& step) {
  const MetalArray<uint16_t> x(device, to_bf16(step.x));
  const MetalArray<float> rope(device, step.rope);
  const MetalArray<int32_t> positions(device, step.positions), sequence(device, step.sequence),
      table(device, step.block_table);
  metal::StepArrays there;
  there.tokens = step.size();
  there.sequences = int(step.block_table.size()) / step.max_pages;
  there.max_pages = step.max_pages;
  there.positions = positions.data();
  there.sequence = sequence.data();
  there.block_tables[step.group] = table.data();
  there.rope = rope.data();
  const MetalArray<uint16_t> q(device, size_t(step.size() + 1) * layer.heads * kHeadDim);
  const MetalArray<uint8_t> cache(device, step.cache_bytes(layer));
  const QkvArgs args = {step.size(), layer.hidden, layer.heads, layer.kv_heads, kHeadDim, step.group, step.type};
  if (!step.adapted()) {
    metal::qkv(device.encoder, args, there, x.data(), matrices, q.data(), {cache.data(), cache.bytes()});
    return {q.read(), cache.read()};
  }
  const MetalStepAdapters on_device(device, step.adapters, 3 * kMostLowRank, size_t(layer.rows()));
  metal::qkv_low_rank(device.encoder, args, there, on_device.step(), 1, x.data(), matrices, q.data(),
                      {cache.data(), cache.bytes()});
  return {q.read(), cache.read()};
}
inline QkvResult run_qkv(MetalDevice& device, const QkvLayer& layer, const QkvStep& step) {
  return run_qkv(device, layer, MetalQkvLayer(device, layer).matrices(), step);
}

}  // namespace oss::test
