#include "native/adapters/adapter_names.h"

#include <string_view>

#include "native/base/error.h"
#include "native/base/json.h"
#include "native/base/str.h"

namespace oss {
namespace {

using Target = FactorName::Target;

bool take_prefix(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

bool take_suffix(std::string_view& text, std::string_view suffix) {
  if (!text.ends_with(suffix)) return false;
  text.remove_suffix(suffix.size());
  return true;
}

// Takes a number without leading zeros, of at most six digits. False: there is none.
bool take_number(std::string_view& text, int& number) {
  size_t digits = 0;
  number = 0;
  while (digits < text.size() && digits < 6 && text[digits] >= '0' && text[digits] <= '9') {
    number = 10 * number + (text[digits++] - '0');
  }
  const bool is_number = digits == 1 || (digits > 1 && text[0] != '0');
  text.remove_prefix(digits);
  return is_number;
}

constexpr std::pair<std::string_view, Target> kOfLayer[] = {
    {"self_attn.q_proj", Target::kQ},  {"self_attn.k_proj", Target::kK},
    {"self_attn.v_proj", Target::kV},  {"self_attn.o_proj", Target::kO},
    {"mlp.router", Target::kRouter},   {"mlp.router.linear", Target::kRouter},
    {"mlp.experts", Target::kExperts}, {"mlp.experts.base_layer", Target::kExperts},
};

// Sets target and expert by the name of a module in a layer.
bool read_module(std::string_view module, FactorName& out) {
  for (const auto& [name, target] : kOfLayer) {
    if (module != name) continue;
    out.target = target;
    return true;
  }
  if (take_prefix(module, "mlp.experts.gate_up_projs.")) {
    out.target = Target::kGateUp;
  } else if (take_prefix(module, "mlp.experts.down_projs.")) {
    out.target = Target::kDown;
  } else {
    return false;
  }
  return take_number(module, out.expert) && module.empty();
}

const char* advice(std::string_view tensor) {
  const auto has = [&](const char* part) { return tensor.find(part) != std::string_view::npos; };
  if (has("lora_embedding_") || has("embed_tokens")) return "; adapters of the embedding do not run";
  if (has("lora_magnitude_vector")) return "; DoRA does not run";
  if (has("modules_to_save") || has("original_module")) return "; modules that were trained in full do not run";
  if (tensor.ends_with(".bias")) return "; trained biases do not run";
  if (has("base_layer.base_layer")) return "; of the experts, only gate_up_proj and down_proj can have an adapter";
  return "; adapters of q_proj, k_proj, v_proj, o_proj, router, experts and lm_head run";
}

}  // namespace

FactorName read_factor_name(const std::string& file, const std::string& tensor, const Config& config) {
  const auto fail = [&](Code code, const auto&... parts) {
    throw Error(code, str(file, ": tensor ", quote(tensor), ": ", parts...));
  };
  std::string_view rest = tensor;
  take_prefix(rest, "base_model.model.");
  FactorName out{};
  const bool is_a = take_suffix(rest, ".lora_A.weight");
  bool known = is_a || take_suffix(rest, ".lora_B.weight");
  out.is_a = is_a;
  out.module = std::string(rest);
  if (rest == "lm_head") {
    out.target = Target::kLmHead;
  } else {
    known = known && take_prefix(rest, "model.layers.") && take_number(rest, out.layer) && take_prefix(rest, ".") &&
            read_module(rest, out);
  }
  if (!known) fail(Code::kUnsupported, "no matrix of gpt-oss has an adapter of this name", advice(tensor));
  if (out.layer >= config.num_layers)
    fail(Code::kModelShape, "expected a layer below ", config.num_layers, ", the number of the model, found ",
         out.layer);
  if (out.expert >= config.num_experts)
    fail(Code::kModelShape, "expected an expert below ", config.num_experts, ", the number of the model, found ",
         out.expert);
  return out;
}

}  // namespace oss
