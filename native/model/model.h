// A model in the memory of one device: the config and every weight, in the layout of the backend's kernels.
#pragma once
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
};

}  // namespace oss
