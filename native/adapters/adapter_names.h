// Names of the tensors of an adapter: which matrix of the model, and which of its two factors.
//
//   base_model.model.model.layers.N.self_attn.q_proj.lora_A.weight       q, k, v, o
//   ….mlp.router.lora_A.weight, ….mlp.router.linear.lora_A.weight        (PEFT's target_parameters; Unsloth)
//   ….mlp.experts.lora_A.weight, ….mlp.experts.base_layer.lora_A.weight  (target_parameters: all experts at once)
//   ….mlp.experts.gate_up_projs.E.lora_A.weight, ….down_projs.E.…        (Unsloth: expert by expert)
//   base_model.model.lm_head.lora_A.weight
#pragma once
#include <string>

#include "native/model/config.h"

namespace oss {

struct FactorName {
  enum class Target { kQ, kK, kV, kO, kRouter, kLmHead, kExperts, kGateUp, kDown };
  Target target;
  int layer = -1;   // -1: lm_head
  int expert = -1;  // of kGateUp and kDown
  bool is_a = false;
  std::string module;  // the name without prefix and factor: "model.layers.0.self_attn.q_proj"
};

// Throws kUnsupported for a name that is none of these, and kModelShape for a layer or expert that the model lacks.
// `file` is named in the message.
FactorName read_factor_name(const std::string& file, const std::string& tensor, const Config& config);

}  // namespace oss
