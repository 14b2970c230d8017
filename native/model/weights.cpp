#include "native/model/weights.h"

#include <set>
#include <string_view>

#include "native/base/error.h"
#include "native/base/json.h"
#include "native/base/str.h"

namespace oss {
namespace {

template <auto Member>
auto& of_model(Model& model, int) {
  return model.*Member;
}
template <auto Member>
auto& of_layer(Model& model, int layer) {
  return model.layers[size_t(layer)].*Member;
}
template <auto Member>
auto& of_qkv(Model& model, int layer) {
  return model.layers[size_t(layer)].qkv.*Member;
}

// A row of the table. In a layer, names omit "model.layers.N." and "block.N.".
struct Weight {
  const char* name;
  const char* original;
  WeightUse use;
  std::vector<int64_t> shape;
  float deviation;
  WeightPlace place;
};

// Deviations keep activations as large as in a trained model. Norms make every input 1, so queries, keys and values
// have an rms of 1. Scores are divided by 8 and multiplied twice by YaRN's concentration of 1.35; their rms is 1.8, so
// a few dozen keys matter. Gates near 1 use the curved part of SwiGLU. Each layer adds about 0.6 to the residual
// stream, which starts at 1 and ends at about 4 in the 120b. Logits have a deviation of 2.5: the most probable of
// 201,088 tokens gets a few percent.

std::vector<Weight> model_weights(const Config& c) {
  using enum WeightUse;
  return {
      {"model.embed_tokens.weight", "embedding.weight", kTable, {c.vocab, c.hidden}, 1, of_model<&Model::embed>},
      {"model.norm.weight", "norm.scale", kNorm, {c.hidden}, 0.15f, of_model<&Model::final_norm>},
      {"lm_head.weight", "unembedding.weight", kProduct, {c.vocab, c.hidden}, 2.5f, of_model<&Model::lm_head>},
  };
}

std::vector<Weight> layer_weights(const Config& c) {
  using enum WeightUse;
  const int64_t q = c.q_size(), kv = c.kv_size(), experts = c.num_experts;
  const int64_t hidden_blocks = c.hidden / 32, intermediate_blocks = c.intermediate / 32,
                gate_up = 2 * int64_t(c.intermediate);
  // clang-format off
  return {
      {"input_layernorm.weight", "attn.norm.scale", kNorm, {c.hidden}, 0.15f, of_layer<&Layer::attn_norm>},
      {"self_attn.q_proj.weight", "attn.qkv.weight", kRotated, {q, c.hidden}, 1, of_qkv<&QkvWeights::q>},
      {"self_attn.k_proj.weight", "attn.qkv.weight", kRotated, {kv, c.hidden}, 1, of_qkv<&QkvWeights::k>},
      {"self_attn.v_proj.weight", "attn.qkv.weight", kProduct, {kv, c.hidden}, 1, of_qkv<&QkvWeights::v>},
      {"self_attn.q_proj.bias", "attn.qkv.bias", kVector, {q}, 0.3f, of_qkv<&QkvWeights::q_bias>},
      {"self_attn.k_proj.bias", "attn.qkv.bias", kVector, {kv}, 0.3f, of_qkv<&QkvWeights::k_bias>},
      {"self_attn.v_proj.bias", "attn.qkv.bias", kVector, {kv}, 0.3f, of_qkv<&QkvWeights::v_bias>},
      {"self_attn.sinks", "attn.sinks", kVector, {c.num_heads}, 1, of_layer<&Layer::sinks>},
      {"self_attn.o_proj.weight", "attn.out.weight", kProduct, {c.hidden, q}, 1, of_layer<&Layer::o>},
      {"self_attn.o_proj.bias", "attn.out.bias", kVector, {c.hidden}, 0.05f, of_layer<&Layer::o_bias>},
      {"post_attention_layernorm.weight", "mlp.norm.scale", kNorm, {c.hidden}, 0.15f, of_layer<&Layer::mlp_norm>},
      {"mlp.router.weight", "mlp.gate.weight", kRouter, {experts, c.hidden}, 1, of_layer<&Layer::router>},
      {"mlp.router.bias", "mlp.gate.bias", kVector, {experts}, 0, of_layer<&Layer::router_bias>},
      {"mlp.experts.gate_up_proj_blocks", "mlp.mlp1_weight.blocks", kGateUp, {experts, gate_up, hidden_blocks, 16}, 0,
       of_layer<&Layer::gate_up>},
      {"mlp.experts.gate_up_proj_scales", "mlp.mlp1_weight.scales", kScales, {experts, gate_up, hidden_blocks}, 1,
       of_layer<&Layer::gate_up>},
      {"mlp.experts.gate_up_proj_bias", "mlp.mlp1_bias", kExpertBias, {experts, gate_up}, 0.1f,
       of_layer<&Layer::gate_up>},
      {"mlp.experts.down_proj_blocks", "mlp.mlp2_weight.blocks", kDown, {experts, c.hidden, intermediate_blocks, 16}, 0,
       of_layer<&Layer::down>},
      {"mlp.experts.down_proj_scales", "mlp.mlp2_weight.scales", kScales, {experts, c.hidden, intermediate_blocks}, 1,
       of_layer<&Layer::down>},
      {"mlp.experts.down_proj_bias", "mlp.mlp2_bias", kExpertBias, {experts, c.hidden}, 0.05f, of_layer<&Layer::down>},
  };
  // clang-format on
}

const char* expected_dtype(WeightUse use) { return is_matrix(use) ? "BF16" : is_mxfp4(use) ? "U8" : "BF16 or F32"; }

bool dtype_fits(WeightUse use, DType dtype) {
  if (is_mxfp4(use)) return dtype == DType::kU8;
  return dtype == DType::kBF16 || (dtype == DType::kF32 && !is_matrix(use));
}

void check_weight(const WeightSpec& spec, const HostTensor& tensor) {
  const auto fail = [&](const auto& expected, const auto& found) {
    throw Error(Code::kModelShape,
                str(tensor.file, ": tensor ", quote(tensor.name), ": expected ", expected, ", found ", found));
  };
  if (!dtype_fits(spec.use, tensor.dtype)) fail(expected_dtype(spec.use), dtype_name(tensor.dtype));
  if (tensor.shape != spec.shape) fail(str("shape ", str_shape(spec.shape)), str_shape(tensor.shape));
}

// Experts in BF16 are stored under the name without "_blocks" (original layout: without ".blocks").
void refuse_unpacked(const WeightSpec& missing, const Tensors& tensors) {
  if (!is_blocks(missing.use)) return;
  const auto unpacked = tensors.find(experts_name(missing));
  if (unpacked == tensors.end()) return;
  throw Error(Code::kUnsupported, str(unpacked->second.file, ": tensor ", quote(unpacked->first),
                                      ": expected MXFP4 blocks and scales, found ", dtype_name(unpacked->second.dtype),
                                      "; only MXFP4 expert weights run"));
}

}  // namespace

std::vector<WeightSpec> weight_specs(const Config& config) {
  std::vector<WeightSpec> specs;
  for (const Weight& w : model_weights(config)) {
    specs.push_back({w.name, w.original, w.use, w.shape, w.deviation, w.place});
  }
  const std::vector<Weight> layer = layer_weights(config);
  for (int i = 0; i < config.num_layers; ++i) {
    const std::string name = str("model.layers.", i, "."), original = str("block.", i, ".");
    for (const Weight& w : layer) {
      specs.push_back({name + w.name, original + w.original, w.use, w.shape, w.deviation, w.place, i});
    }
  }
  return specs;
}

std::string experts_name(const WeightSpec& blocks) {
  constexpr std::string_view kEnding = "_blocks";
  return blocks.name.substr(0, blocks.name.size() - kEnding.size());
}

const HostTensor* bf16_experts_of(const WeightSpec& blocks, const Tensors& tensors) {
  const auto found = tensors.find(experts_name(blocks));
  return found == tensors.end() ? nullptr : &found->second;
}

void check_weights(const std::vector<WeightSpec>& specs, const Tensors& tensors, const std::string& where) {
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

}  // namespace oss
