// A model in the memory of one device: the config and every weight, in the layout of the backend's kernels.
#pragma once
#include <algorithm>
#include <vector>

#include "native/backend/tensors.h"
#include "native/model/config.h"

namespace oss {

struct Layer {
  Vector attn_norm;
  QkvWeights qkv;
  Vector sinks;
  Matrix o;
  Vector o_bias, mlp_norm;
  Matrix router;
  Vector router_bias;
  ExpertMatrix gate_up;  // rows interleaved: gate of unit i at 2i, up at 2i + 1
  ExpertMatrix down;
};

struct Model {
  Config config;
  Matrix embed;
  Vector final_norm;
  Matrix lm_head;
  std::vector<Layer> layers;

  // Whether a matrix is in Q8: by option, or because the file has it so.
  bool holds_q8() const {
    const auto is_q8 = [](const Matrix& matrix) { return matrix.q8_codes != nullptr; };
    const auto in_layer = [&](const Layer& layer) {
      return is_q8(layer.qkv.q) || is_q8(layer.qkv.k) || is_q8(layer.qkv.v) || is_q8(layer.o);
    };
    return is_q8(embed) || is_q8(lm_head) || std::any_of(layers.begin(), layers.end(), in_layer);
  }
};

}  // namespace oss
