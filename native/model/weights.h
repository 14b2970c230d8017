// The tensors that make a gpt-oss model: which ones a config asks for, and who is who.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "native/base/tensor.h"
#include "native/model/config.h"

namespace oss {

struct HostLayer {
  HostTensor attn_norm;                       // [hidden]
  HostTensor q, q_bias;                       // [q_size, hidden], [q_size]
  HostTensor k, k_bias, v, v_bias;            // [kv_size, hidden], [kv_size]
  HostTensor sinks;                           // [num_heads]
  HostTensor o, o_bias;                       // [hidden, q_size], [hidden]
  HostTensor mlp_norm;                        // [hidden]
  HostTensor router, router_bias;             // [num_experts, hidden], [num_experts]
  HostTensor gate_up_blocks, gate_up_scales;  // [num_experts, 2·intermediate, hidden/32, 16], the same without 16
  HostTensor gate_up_bias;                    // [num_experts, 2·intermediate]; even rows gate, odd rows up
  HostTensor down_blocks, down_scales,
      down_bias;  // [num_experts, hidden, intermediate/32, 16], ..., [num_experts, hidden]
};

struct HostWeights {
  HostTensor embed, final_norm, lm_head;  // [vocab, hidden], [hidden], [vocab, hidden]
  std::vector<HostLayer> layers;
};

enum class WeightKind {
  kMatrix,  // BF16
  kVector,  // BF16 or F32: the release has BF16, transformers' converter speaks of F32 norms
  kPacked,  // U8: MXFP4 blocks and scales
};

struct WeightSpec {
  std::string name;  // canonical: as the Hugging Face layout spells it
  WeightKind kind;
  std::vector<int64_t> shape;
};

// Everything that a model of this config consists of, top tensors first, then layer by layer.
std::vector<WeightSpec> weight_specs(const Config& config);

// Throws kModelShape for a wrong shape or dtype, kModelFormat for tensors that are missing or too many.
// `where` is named in messages about tensors that are not there.
void check_weights(const std::vector<WeightSpec>& specs, const std::map<std::string, HostTensor>& tensors,
                   const std::string& where);

// From canonical names to roles. The tensors were checked when the checkpoint was opened.
HostWeights bind_weights(const Config& config, const std::map<std::string, HostTensor>& tensors);

}  // namespace oss
