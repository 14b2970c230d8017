// The matrices of the model that an adapter can change: their sizes and their canonical names.
#pragma once
#include <string>

#include "native/adapters/adapter_names.h"
#include "native/model/config.h"

namespace oss {

struct MatrixSizes {
  int64_t in, out;
};

MatrixSizes gate_up_of(const Config& config);
MatrixSizes down_of(const Config& config);
MatrixSizes sizes_of(FactorName::Target target, const Config& config);  // of a dense weight

std::string dense_weight(FactorName::Target target, int layer);    // "model.layers.0.self_attn.q_proj.weight"
std::string experts_weight(int layer, const std::string& matrix);  // "model.layers.0.mlp.experts.gate_up_proj"

}  // namespace oss
