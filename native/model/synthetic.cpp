#include "native/model/synthetic.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>

#include "kernels/common/synthetic.h"
#include "native/base/error.h"
#include "native/base/json.h"
#include "native/base/str.h"
#include "native/model/weights.h"

namespace oss {
namespace {

constexpr std::string_view kPrefix = "synthetic:";

struct Parameters {
  uint64_t seed = 1;
  float skew = 0;
};

// --- configs -------------------------------------------------------------------------------------------------------------

Config gpt_oss(int layers, int experts) {
  Config c;
  c.num_layers = layers;
  c.hidden = c.intermediate = 2880;
  c.num_heads = 64;
  c.num_kv_heads = 8;
  c.head_dim = 64;
  c.num_experts = experts;
  c.experts_per_token = 4;
  c.vocab = 201088;
  c.sliding_window = 128;
  for (int layer = 0; layer < layers; ++layer) c.layer_sliding.push_back(layer % 2 == 0);
  c.rms_eps = 1e-5f;
  c.swiglu_limit = 7;
  c.swiglu_alpha = 1.702f;
  c.rope = {
      .theta = 150000, .factor = 32, .beta_fast = 32, .beta_slow = 1, .original_context = 4096, .truncate = false};
  c.max_context = 131072;
  c.eos_tokens = {200002};
  return c;
}

Config small() {
  Config c = gpt_oss(4, 8);
  c.hidden = c.intermediate = 512;
  c.num_heads = 8;
  c.num_kv_heads = 2;
  return c;
}

Config tiny() {
  Config c = gpt_oss(2, 8);
  c.hidden = c.intermediate = 64;
  c.num_heads = 4;
  c.num_kv_heads = 2;
  c.vocab = 512;
  c.eos_tokens = {c.vocab - 2};
  return c;
}

// What a ScriptedEngine runs: any token can be read and written, and nothing takes long.
Config wide() {
  Config c = tiny();
  c.num_layers = 1;
  c.layer_sliding = {false};
  c.num_experts = 4;
  c.vocab = 201088;
  c.eos_tokens = {200002};
  return c;
}

Config config_of(const std::string& name) {
  if (name == "120b") return gpt_oss(36, 128);
  if (name == "20b") return gpt_oss(24, 32);
  if (name == "small") return small();
  if (name == "tiny") return tiny();
  if (name == "wide") return wide();
  throw Error(Code::kModelNotFound,
              str("expected synthetic:120b, synthetic:20b, synthetic:small, synthetic:tiny or synthetic:wide, found ",
                  quote(str(kPrefix, name))));
}

// --- weights -------------------------------------------------------------------------------------------------------------

// What the weights of one role are like. `scale` is the deviation of one element, or of its product with the square root
// of the inputs that a row sums over: an input with an rms of 1 then gives an output with an rms of `scale`.
struct Recipe {
  std::string_view ending;  // of the canonical name
  SyntheticKind kind;
  float scale;
  int Config::* inputs = nullptr;
};

// Norms make every input 1, so queries, keys and values have an rms of 1 and scores, divided by 8 and multiplied by
// YaRN's concentration of 1.35 twice, one of 1.8: a few dozen keys matter. Gates near 1 use the curved part of SwiGLU.
// Each layer adds about 0.6 to the residual stream, which starts at 1 and ends the 120b at about 4. Logits have a
// deviation of 2.5: of 201,088 tokens the likeliest gets a few percent.
constexpr Recipe kRecipes[] = {
    {"embed_tokens.weight", kSyntheticNormal, 1},
    {"lm_head.weight", kSyntheticNormal, 2.5f, &Config::hidden},
    {"norm.weight", kSyntheticNorm, 0.15f},  // of each layer too: input_layernorm, post_attention_layernorm
    {"layernorm.weight", kSyntheticNorm, 0.15f},
    {"q_proj.weight", kSyntheticNormal, 1, &Config::hidden},
    {"k_proj.weight", kSyntheticNormal, 1, &Config::hidden},
    {"v_proj.weight", kSyntheticNormal, 1, &Config::hidden},
    {"o_proj.weight", kSyntheticNormal, 1, nullptr},  // inputs: heads times head_dim
    {"q_proj.bias", kSyntheticNormal, 0.3f},
    {"k_proj.bias", kSyntheticNormal, 0.3f},
    {"v_proj.bias", kSyntheticNormal, 0.3f},
    {"o_proj.bias", kSyntheticNormal, 0.05f},
    {"sinks", kSyntheticNormal, 1},
    {"router.weight", kSyntheticNormal, 1, &Config::hidden},
    {"router.bias", kSyntheticNormal, 0},  // and the skew
    {"gate_up_proj_blocks", kSyntheticCodes, 0},
    {"gate_up_proj_scales", kSyntheticScales, 1, &Config::hidden},
    {"gate_up_proj_bias", kSyntheticNormal, 0.1f},
    {"down_proj_blocks", kSyntheticCodes, 0},
    {"down_proj_scales", kSyntheticScales, 1, &Config::intermediate},
    {"down_proj_bias", kSyntheticNormal, 0.05f},
};

const Recipe& recipe_of(std::string_view name) {
  for (const Recipe& recipe : kRecipes)
    if (name.ends_with(recipe.ending)) return recipe;
  throw Error(Code::kInternal, str("no synthetic weights for ", name));
}

// sqrt is exactly rounded, so scales are the same everywhere.
float scale_of(const Recipe& recipe, const Config& config, const Parameters& parameters) {
  if (recipe.ending == "router.bias") return parameters.skew;
  if (recipe.ending == "o_proj.weight") return recipe.scale / std::sqrt(float(config.q_size()));
  return recipe.inputs == nullptr ? recipe.scale : recipe.scale / std::sqrt(float(config.*recipe.inputs));
}

uint64_t key_of(uint64_t seed, std::string_view name) {
  uint64_t key = synthetic_bits(seed, 0);
  for (const char c : name) key = synthetic_mix(key ^ uint8_t(c));
  return key;
}

HostTensor tensor_of(const WeightSpec& spec, const Config& config, const Parameters& parameters,
                     const std::string& path) {
  const Recipe& recipe = recipe_of(spec.name);
  HostTensor tensor;
  tensor.name = spec.name;
  tensor.file = path;
  tensor.dtype = spec.kind == WeightKind::kPacked ? DType::kU8 : DType::kBF16;
  tensor.shape = spec.shape;
  tensor.bytes = size_t(tensor.elements()) * dtype_bytes(tensor.dtype);
  tensor.synthetic = {
      .kind = recipe.kind, .key = key_of(parameters.seed, spec.name), .scale = scale_of(recipe, config, parameters)};
  return tensor;
}

// --- names ---------------------------------------------------------------------------------------------------------------

template <typename Number>
Number number_of(const std::string& path, std::string_view key, std::string_view text, Number highest,
                 const char* expected) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  // Written so that NaN is refused.
  if (error != std::errc() || end != text.data() + text.size() || text.empty() || !(value >= 0 && value <= highest))
    throw Error(Code::kInvalidArgument, str(quote(path), ": ", key, ": expected ", expected, ", found ", quote(text)));
  return value;
}

Parameters parameters_of(const std::string& path, std::string_view text) {
  Parameters out;
  while (!text.empty()) {
    const std::string_view one = text.substr(0, text.find('&'));
    text.remove_prefix(std::min(text.size(), one.size() + 1));
    const size_t equals = one.find('=');
    const std::string_view key = one.substr(0, equals), value = equals == one.npos ? "" : one.substr(equals + 1);
    if (key == "seed") {
      out.seed = number_of<uint64_t>(path, key, value, ~uint64_t(0), "an integer in [0, 2^64 - 1]");
    } else if (key == "skew") {
      out.skew = number_of<float>(path, key, value, 100, "a number in [0, 100]");
    } else {
      throw Error(Code::kInvalidArgument,
                  str(quote(path), ": expected seed=N or skew=X after \"?\", found ", quote(one)));
    }
  }
  return out;
}

}  // namespace

bool is_synthetic(std::string_view path) { return path.starts_with(kPrefix); }

std::unique_ptr<Checkpoint> synthetic_checkpoint(const std::string& path) {
  const size_t question = std::min(path.find('?'), path.size());
  const std::string name = path.substr(kPrefix.size(), question - kPrefix.size());
  auto checkpoint = std::make_unique<Checkpoint>();
  checkpoint->path = path;
  checkpoint->layout = "synthetic";
  checkpoint->config = config_of(name);
  check_config(checkpoint->config, path);
  const Parameters parameters = parameters_of(path, std::string_view(path).substr(std::min(question + 1, path.size())));
  for (const WeightSpec& spec : weight_specs(checkpoint->config)) {
    const HostTensor& tensor = checkpoint->tensors[spec.name] = tensor_of(spec, checkpoint->config, parameters, path);
    checkpoint->file_bytes += tensor.bytes;
  }
  return checkpoint;
}

}  // namespace oss
