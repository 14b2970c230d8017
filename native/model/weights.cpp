#include "native/model/weights.h"

#include <set>
#include <string_view>

#include "native/base/error.h"
#include "native/base/json.h"
#include "native/base/str.h"

namespace oss {
namespace {

struct LayerWeight {
  const char* suffix;
  HostTensor HostLayer::* member;
  WeightKind kind;
  std::vector<int64_t> shape;
};

struct TopWeight {
  const char* name;
  HostTensor HostWeights::* member;
  WeightKind kind;
  std::vector<int64_t> shape;
};

std::vector<TopWeight> top_weights(const Config& c) {
  return {
      {"model.embed_tokens.weight", &HostWeights::embed, WeightKind::kMatrix, {c.vocab, c.hidden}},
      {"model.norm.weight", &HostWeights::final_norm, WeightKind::kVector, {c.hidden}},
      {"lm_head.weight", &HostWeights::lm_head, WeightKind::kMatrix, {c.vocab, c.hidden}},
  };
}

std::vector<LayerWeight> layer_weights(const Config& c) {
  using enum WeightKind;
  const int64_t q = c.q_size(), kv = c.kv_size(), experts = c.num_experts;
  const int64_t hidden_blocks = c.hidden / 32, intermediate_blocks = c.intermediate / 32,
                gate_up = 2 * int64_t(c.intermediate);
  return {
      {"input_layernorm.weight", &HostLayer::attn_norm, kVector, {c.hidden}},
      {"self_attn.q_proj.weight", &HostLayer::q, kMatrix, {q, c.hidden}},
      {"self_attn.q_proj.bias", &HostLayer::q_bias, kVector, {q}},
      {"self_attn.k_proj.weight", &HostLayer::k, kMatrix, {kv, c.hidden}},
      {"self_attn.k_proj.bias", &HostLayer::k_bias, kVector, {kv}},
      {"self_attn.v_proj.weight", &HostLayer::v, kMatrix, {kv, c.hidden}},
      {"self_attn.v_proj.bias", &HostLayer::v_bias, kVector, {kv}},
      {"self_attn.sinks", &HostLayer::sinks, kVector, {c.num_heads}},
      {"self_attn.o_proj.weight", &HostLayer::o, kMatrix, {c.hidden, q}},
      {"self_attn.o_proj.bias", &HostLayer::o_bias, kVector, {c.hidden}},
      {"post_attention_layernorm.weight", &HostLayer::mlp_norm, kVector, {c.hidden}},
      {"mlp.router.weight", &HostLayer::router, kMatrix, {experts, c.hidden}},
      {"mlp.router.bias", &HostLayer::router_bias, kVector, {experts}},
      {"mlp.experts.gate_up_proj_blocks", &HostLayer::gate_up_blocks, kPacked, {experts, gate_up, hidden_blocks, 16}},
      {"mlp.experts.gate_up_proj_scales", &HostLayer::gate_up_scales, kPacked, {experts, gate_up, hidden_blocks}},
      {"mlp.experts.gate_up_proj_bias", &HostLayer::gate_up_bias, kVector, {experts, gate_up}},
      {"mlp.experts.down_proj_blocks", &HostLayer::down_blocks, kPacked, {experts, c.hidden, intermediate_blocks, 16}},
      {"mlp.experts.down_proj_scales", &HostLayer::down_scales, kPacked, {experts, c.hidden, intermediate_blocks}},
      {"mlp.experts.down_proj_bias", &HostLayer::down_bias, kVector, {experts, c.hidden}},
  };
}

std::string layer_name(int layer, const char* suffix) { return str("model.layers.", layer, ".", suffix); }

const char* expected_dtype(WeightKind kind) {
  switch (kind) {
    case WeightKind::kMatrix:
      return "BF16";
    case WeightKind::kVector:
      return "BF16 or F32";
    case WeightKind::kPacked:
      return "U8";
  }
  return "?";
}

bool dtype_fits(WeightKind kind, DType dtype) {
  switch (kind) {
    case WeightKind::kMatrix:
      return dtype == DType::kBF16;
    case WeightKind::kVector:
      return dtype == DType::kBF16 || dtype == DType::kF32;
    case WeightKind::kPacked:
      return dtype == DType::kU8;
  }
  return false;
}

void check_weight(const WeightSpec& spec, const HostTensor& tensor) {
  const auto fail = [&](const auto& expected, const auto& found) {
    throw Error(Code::kModelShape,
                str(tensor.file, ": tensor ", quote(tensor.name), ": expected ", expected, ", found ", found));
  };
  if (!dtype_fits(spec.kind, tensor.dtype)) fail(expected_dtype(spec.kind), dtype_name(tensor.dtype));
  if (tensor.shape != spec.shape) fail(str("shape ", str_shape(spec.shape)), str_shape(tensor.shape));
}

// Experts in BF16 are stored under the name without "_blocks" (original layout: ".blocks").
void refuse_unpacked(const WeightSpec& missing, const std::map<std::string, HostTensor>& tensors) {
  constexpr std::string_view kEnding = "_blocks";
  if (missing.kind != WeightKind::kPacked || !missing.name.ends_with(kEnding.substr(1))) return;
  const auto unpacked = tensors.find(missing.name.substr(0, missing.name.size() - kEnding.size()));
  if (unpacked == tensors.end()) return;
  throw Error(Code::kUnsupported, str(unpacked->second.file, ": tensor ", quote(unpacked->first),
                                      ": expected MXFP4 blocks and scales, found ", dtype_name(unpacked->second.dtype),
                                      "; only MXFP4 expert weights run"));
}

}  // namespace

std::vector<WeightSpec> weight_specs(const Config& config) {
  std::vector<WeightSpec> specs;
  for (const TopWeight& weight : top_weights(config)) specs.push_back({weight.name, weight.kind, weight.shape});
  const std::vector<LayerWeight> layer = layer_weights(config);
  for (int i = 0; i < config.num_layers; ++i)
    for (const LayerWeight& weight : layer) specs.push_back({layer_name(i, weight.suffix), weight.kind, weight.shape});
  return specs;
}

void check_weights(const std::vector<WeightSpec>& specs, const std::map<std::string, HostTensor>& tensors,
                   const std::string& where) {
  size_t missing = 0;
  const WeightSpec* first_missing = nullptr;
  std::set<std::string_view> wanted;
  for (const WeightSpec& spec : specs) {
    wanted.insert(spec.name);
    const auto found = tensors.find(spec.name);
    if (found != tensors.end()) {
      check_weight(spec, found->second);
    } else {
      refuse_unpacked(spec, tensors);
      if (missing++ == 0) first_missing = &spec;
    }
  }
  if (missing > 0)
    throw Error(Code::kModelFormat,
                str(where, ": expected ", specs.size(), " tensors, ", missing, missing == 1 ? " is" : " are",
                    " missing: ", quote(first_missing->name), missing == 1 ? "" : " and others"));
  if (tensors.size() == specs.size()) return;
  for (const auto& [name, tensor] : tensors) {
    if (wanted.contains(name)) continue;
    throw Error(Code::kModelFormat,
                str(tensor.file, ": tensor ", quote(name), ": no gpt-oss tensor of this name is expected, found ",
                    tensors.size() - specs.size(), " too many"));
  }
}

HostWeights bind_weights(const Config& config, const std::map<std::string, HostTensor>& tensors) {
  HostWeights weights;
  for (const TopWeight& weight : top_weights(config)) weights.*weight.member = tensors.at(weight.name);
  const std::vector<LayerWeight> layer = layer_weights(config);
  weights.layers.resize(config.num_layers);
  for (int i = 0; i < config.num_layers; ++i)
    for (const LayerWeight& weight : layer) weights.layers[i].*weight.member = tensors.at(layer_name(i, weight.suffix));
  return weights;
}

}  // namespace oss
