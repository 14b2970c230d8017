// A model in the memory of one device: the config and every weight in the layout that the backend's kernels like.
#pragma once
#include <functional>
#include <memory>
#include <vector>

#include "native/backend/weight_packer.h"
#include "native/loader/checkpoint.h"
#include "native/model/config.h"

namespace oss {

struct Layer {
  Vector attn_norm;
  QkvWeights qkv;
  Vector sinks;
  Matrix o;
  Vector o_bias, mlp_norm, router_bias;
  Matrix router;
  ExpertMatrix gate_up;  // rows interleaved: gate of unit i at 2i, up at 2i + 1
  ExpertMatrix down;
};

struct Model {
  std::unique_ptr<const Checkpoint> checkpoint;  // its mapped files may be the weights themselves
  Config config;
  Matrix embed, lm_head;
  Vector final_norm;
  std::vector<Layer> layers;
};

// Of the experts, in the order in which pack_model() packs them.
std::vector<ExpertShape> expert_shapes(const Config& config);

// Memory that the weights of such a model take on a device beside their files.
uint64_t packed_bytes(const Config& config, const WeightPacker& packer);

// Hands every weight to the packer once, for which reserve_weights() has made room. `progress(done, total)` counts layers
// and may throw to stop the loading.
Model pack_model(std::unique_ptr<const Checkpoint> checkpoint, WeightPacker& packer,
                 const std::function<void(size_t, size_t)>& progress);

}  // namespace oss
