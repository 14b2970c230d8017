// The Hugging Face layout: its names are the canonical ones. Configs of transformers 4 (rope_scaling beside rope_theta)
// and 5 (rope_parameters with rope_theta inside) are both read.
#include <algorithm>
#include <cmath>

#include "native/checkpoint/layout.h"

namespace oss {
namespace {

constexpr char kModelType[] = "gpt_oss";
constexpr char kArchitecture[] = "GptOssForCausalLM";

void refuse_other_models(const JsonReader& json) {
  const auto refuse = [&](const char* key, const std::string& found) {
    json.fail(Code::kUnsupported, key, "not a gpt-oss model: ", found);
  };
  if (!json.has("model_type") && !json.has("architectures"))
    json.fail(Code::kModelFormat, "model_type", "expected ", quote(kModelType), ", found nothing");
  if (json.has("model_type") && json.string("model_type") != kModelType)
    refuse("model_type", quote(json.string("model_type")));
  if (!json.has("architectures")) return;
  const std::vector<std::string> names = json.strings("architectures");
  if (std::find(names.begin(), names.end(), kArchitecture) == names.end())
    refuse("architectures", names.empty() ? "none" : quote(names.front()));
}

// Refuses values that are valid for this family but that our forward pass does not implement. How the experts are
// quantised is decided by the tensors: layout_hf_variants.cpp.
void refuse_variants(const JsonReader& json) {
  if (!json.boolean("attention_bias", true))
    json.fail(Code::kUnsupported, "attention_bias", "expected true, found false; gpt-oss has attention biases");
  if (json.boolean("tie_word_embeddings", false))
    json.fail(Code::kUnsupported, "tie_word_embeddings", "expected false, found true; gpt-oss has its own lm_head");
  if (json.has("hidden_act") && json.string("hidden_act") != "silu")
    json.fail(Code::kUnsupported, "hidden_act", "expected \"silu\", found ", quote(json.string("hidden_act")));
}

// Reads one number that may stand under two keys, and must then be equal.
int agreeing_count(const JsonReader& json, const char* key, const char* other) {
  if (!json.has(other)) return json.count(key);
  if (json.has(key) && json.count(key) != json.count(other))
    json.fail(Code::kModelFormat, key, "expected the same as ", other, " = ", json.count(other), ", found ",
              json.count(key));
  return json.count(other);
}

std::vector<bool> read_layer_types(const JsonReader& json, int num_layers) {
  std::vector<bool> sliding;
  if (!json.has("layer_types")) {
    for (int i = 0; i < num_layers; ++i) sliding.push_back(i % 2 == 0);
    return sliding;
  }
  for (const std::string& type : json.strings("layer_types")) {
    if (type != "sliding_attention" && type != "full_attention")
      json.fail(Code::kModelFormat, "layer_types", "expected \"sliding_attention\" or \"full_attention\", found ",
                quote(type));
    sliding.push_back(type == "sliding_attention");
  }
  return sliding;
}

double read_theta(const JsonReader& json, const JsonReader& rope) {
  if (!rope.has("rope_theta")) return json.number("rope_theta");
  if (json.has("rope_theta") && json.number("rope_theta") != rope.number("rope_theta"))
    rope.fail(Code::kModelFormat, "rope_theta", "expected the same as outside, ", json.number("rope_theta"), ", found ",
              rope.number("rope_theta"));
  return rope.number("rope_theta");
}

// Fallbacks are transformers' defaults for keys that a config may leave out.
RopeConfig read_yarn(const JsonReader& json, const JsonReader& rope, double theta) {
  RopeConfig out;
  out.theta = theta;
  out.factor = rope.number("factor");
  out.beta_fast = rope.number("beta_fast", 32);
  out.beta_slow = rope.number("beta_slow", 1);
  out.truncate = rope.boolean("truncate", true);
  out.original_context = rope.has("original_max_position_embeddings") ? rope.tokens("original_max_position_embeddings")
                                                                      : json.tokens("initial_context_length");
  // Keys of YaRN in other models that would change the scale of cos and sin. For gpt-oss it follows from the factor.
  const double concentration = 0.1 * std::log(out.factor) + 1;
  if (rope.has("attention_factor") && !(std::fabs(rope.number("attention_factor") - concentration) < 1e-4))
    rope.fail(Code::kUnsupported, "attention_factor", "expected 0.1 ln(factor) + 1 = ", concentration, ", found ",
              rope.number("attention_factor"));
  for (const char* key : {"mscale", "mscale_all_dim"})
    if (rope.has(key)) rope.fail(Code::kUnsupported, key, "expected nothing, found ", rope.number(key));
  return out;
}

RopeConfig read_rope(const JsonReader& json, int64_t max_context) {
  const char* key = json.has("rope_parameters") ? "rope_parameters" : "rope_scaling";
  if (!json.has(key)) return {.theta = json.number("rope_theta"), .original_context = max_context};
  const JsonReader rope = json.object(key);
  const double theta = read_theta(json, rope);
  if (rope.number("partial_rotary_factor", 1) != 1)
    rope.fail(Code::kUnsupported, "partial_rotary_factor", "expected 1, found ", rope.number("partial_rotary_factor"));
  const char* type_key = rope.has("rope_type") ? "rope_type" : "type";
  const std::string type = rope.has(type_key) ? rope.string(type_key) : "default";
  if (type == "yarn") return read_yarn(json, rope, theta);
  if (type != "default")
    rope.fail(Code::kUnsupported, type_key, "expected \"yarn\" or \"default\", found ", quote(type));
  return {.theta = theta, .original_context = max_context};
}

Config read_config(const JsonReader& json) {
  refuse_other_models(json);
  refuse_variants(json);
  Config c;
  c.num_layers = json.count("num_hidden_layers");
  c.hidden = json.count("hidden_size");
  c.intermediate = json.count("intermediate_size");
  c.num_heads = json.count("num_attention_heads");
  c.num_kv_heads = json.count("num_key_value_heads");
  c.head_dim = json.count("head_dim");
  c.num_experts = agreeing_count(json, "num_local_experts", "num_experts");
  c.experts_per_token = agreeing_count(json, "num_experts_per_tok", "experts_per_token");
  c.vocab = json.count("vocab_size");
  c.layer_sliding = read_layer_types(json, c.num_layers);
  const bool slides = std::find(c.layer_sliding.begin(), c.layer_sliding.end(), true) != c.layer_sliding.end();
  if (slides || json.has("sliding_window")) c.sliding_window = json.count("sliding_window");
  c.rms_eps = float(json.number("rms_norm_eps", 1e-5));
  c.swiglu_limit = float(json.number("swiglu_limit", 7));
  c.swiglu_alpha = float(json.number("swiglu_alpha", 1.702));
  c.max_context = json.tokens("max_position_embeddings");
  c.rope = read_rope(json, c.max_context);
  c.eos_tokens = json.token_ids("eos_token_id");
  return c;
}

Tensors canonical(const Config&, Tensors tensors) { return tensors; }

}  // namespace

const Layout kHuggingFaceLayout = {"huggingface", read_config, weight_specs, canonical};

}  // namespace oss
