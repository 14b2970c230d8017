// OpenAI's original/ layout: its own names, and q, k and v as row ranges of one tensor.
#include <string_view>
#include <utility>

#include "native/checkpoint/layout.h"

namespace oss {
namespace {

// Fallbacks are the constants in the code of OpenAI's reference; its files leave them out.
Config read_config(const JsonReader& json) {
  Config c;
  c.num_layers = json.count("num_hidden_layers");
  c.hidden = json.count("hidden_size");
  c.intermediate = json.count("intermediate_size");
  c.num_heads = json.count("num_attention_heads");
  c.num_kv_heads = json.count("num_key_value_heads");
  c.head_dim = json.count("head_dim");
  c.num_experts = json.count("num_experts");
  c.experts_per_token = json.count("experts_per_token");
  c.vocab = json.count("vocab_size");
  c.sliding_window = json.count("sliding_window");
  for (int i = 0; i < c.num_layers; ++i) c.layer_sliding.push_back(i % 2 == 0);
  c.rms_eps = float(json.number("rms_norm_eps", 1e-5));
  c.swiglu_limit = float(json.number("swiglu_limit", 7));
  c.swiglu_alpha = float(json.number("swiglu_alpha", 1.702));
  c.rope.theta = json.number("rope_theta");
  c.rope.factor = json.number("rope_scaling_factor");
  c.rope.beta_slow = json.number("rope_ntk_alpha", 1);
  c.rope.beta_fast = json.number("rope_ntk_beta", 32);
  c.rope.original_context = json.tokens("initial_context_length");
  // The product is checked before it becomes an integer: with a factor of 1e300 it does not fit into int64.
  const double max_context = double(c.rope.original_context) * c.rope.factor;
  if (!(max_context >= 1 && max_context < 1e15))
    json.fail(Code::kModelFormat, "rope_scaling_factor",
              "expected a factor whose product with initial_context_length is a context, found ", c.rope.factor);
  c.max_context = int64_t(max_context);
  return c;
}

// The canonical tensors under their names in this layout. Tensors with one name become one tensor with the rows of all.
std::vector<WeightSpec> file_specs(const Config& config) {
  std::vector<WeightSpec> specs;
  std::map<std::string, size_t> place;
  for (WeightSpec& spec : weight_specs(config)) {
    spec.name = spec.original;
    const auto [known, fresh] = place.emplace(spec.name, specs.size());
    if (fresh) {
      specs.push_back(std::move(spec));
    } else {
      specs[known->second].shape[0] += spec.shape[0];
    }
  }
  return specs;
}

// Takes rows from the front of a tensor in canonical order: q first, then k, then v.
Tensors canonical(const Config& config, Tensors tensors) {
  Tensors out;
  for (const WeightSpec& spec : weight_specs(config)) {
    HostTensor& rest = tensors.at(spec.original);
    HostTensor part = rest;
    part.shape = spec.shape;
    part.bytes = size_t(part.elements()) * dtype_bytes(part.dtype);
    rest.data += part.bytes;
    rest.bytes -= part.bytes;
    out.emplace(spec.name, std::move(part));
  }
  return out;
}

}  // namespace

const Layout kOriginalLayout = {"original", read_config, file_specs, canonical};

}  // namespace oss
