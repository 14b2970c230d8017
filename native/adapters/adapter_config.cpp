#include "native/adapters/adapter_config.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <string_view>

#include "native/backend/low_rank.h"
#include "native/loader/json_file.h"

namespace oss {
namespace {

// Real ones are below 10,000. One that is far beyond makes every activation infinite, and answers of nonsense.
constexpr double kMostAlpha = 1e6;

// Keys that change the mathematics when they are set, and what they ask for.
constexpr std::pair<const char*, const char*> kRefused[] = {
    {"use_dora", "DoRA"},
    {"lora_bias", "a bias beside B"},
    {"modules_to_save", "modules that were trained in full"},
    {"trainable_token_indices", "token embeddings that were trained in full"},
    {"layer_replication", "repeated layers"},
    {"fan_in_fan_out", "transposed weights"},
    {"alora_invocation_tokens", "activated LoRA"},
    {"use_qalora", "QALoRA"},
    {"use_bdlora", "block-diagonal LoRA"},
    {"kasa_config", "KaSA"},
    {"velora_config", "VeLoRA"},
    {"monteclora_config", "MonteCLoRA"},
    {"arrow_config", "Arrow routing"},
};

// Initial values that also change the base weights: the adapter fits only the changed ones.
constexpr const char* kChangesTheBase[] = {"pissa", "olora", "corda", "loftq", "lora_ga"};

bool is_set(const Json& value) {
  if (value.is_null()) return false;
  if (value.boolean()) return *value.boolean();
  if (value.array()) return !value.array()->empty();
  if (value.object()) return !value.object()->empty();
  return true;
}

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return char(std::tolower(c)); });
  return text;
}

void refuse_variants(const JsonReader& reader, const Json& json) {
  for (const auto& [key, what] : kRefused) {
    const Json* value = json.find(key);
    if (value != nullptr && is_set(*value))
      reader.fail(Code::kUnsupported, key, "asks for ", what, ", found ", value->describe(),
                  "; train without it, or merge the adapter with PEFT");
  }
  if (reader.has("bias") && reader.string("bias") != "none")
    reader.fail(Code::kUnsupported, "bias", "expected \"none\", found ", quote(reader.string("bias")),
                "; trained biases are not read");
  const Json* initial = json.find("init_lora_weights");
  if (initial == nullptr || !initial->string()) return;
  const std::string kind = lower(*initial->string());
  for (const char* changes : kChangesTheBase) {
    if (kind.starts_with(changes))
      reader.fail(Code::kUnsupported, "init_lora_weights", quote(kind),
                  " changes the base weights; save the adapter with path_initial_model_for_weight_conversion");
  }
}

std::vector<std::pair<std::string, double>> read_pattern(const JsonReader& reader, const Json& json, const char* key) {
  std::vector<std::pair<std::string, double>> out;
  const Json* pattern = json.find(key);
  if (pattern == nullptr || pattern->is_null()) return out;
  if (!pattern->object())
    reader.fail(Code::kModelFormat, key, "expected an object of numbers, found ", pattern->describe());
  for (const auto& [name, value] : *pattern->object()) {
    if (!value.number() || !(value.number()->value > 0))
      reader.fail(Code::kModelFormat, key, "expected a number above 0 for ", quote(name), ", found ", value.describe());
    if (name.find_first_of("*+?|()[]{}\\$") != std::string::npos)
      reader.fail(Code::kUnsupported, key, quote(name), " is a regular expression; list the modules by name");
    out.emplace_back(name, value.number()->value);
  }
  return out;
}

// PEFT matches a key with the whole name of a module or with its end after a dot.
bool matches(std::string_view key, std::string_view module) {
  const bool whole = key.starts_with('^');
  if (whole) key.remove_prefix(1);
  if (key == module) return true;
  return !whole && module.ends_with(key) && module[module.size() - key.size() - 1] == '.';
}

double value_of(const std::vector<std::pair<std::string, double>>& pattern, const std::vector<std::string>& modules,
                double fallback) {
  for (const auto& [key, value] : pattern) {
    for (const std::string& module : modules) {
      if (matches(key, module)) return value;
    }
  }
  return fallback;
}

}  // namespace

int AdapterConfig::rank_of(const std::vector<std::string>& modules) const {
  return int(value_of(rank_pattern, modules, rank));
}

double AdapterConfig::alpha_of(const std::vector<std::string>& modules) const {
  return value_of(alpha_pattern, modules, alpha);
}

double AdapterConfig::scale_of(const std::vector<std::string>& modules, int r) const {
  return alpha_of(modules) / (rank_stabilized ? std::sqrt(double(r)) : double(r));
}

AdapterConfig read_adapter_config(const std::string& path) {
  const Json json = read_json_file(path);
  const JsonReader reader(path, json);
  const std::string kind = reader.string("peft_type");
  if (kind != "LORA")
    reader.fail(Code::kUnsupported, "peft_type", "expected \"LORA\", found ", quote(kind), "; only LoRA adapters run");
  refuse_variants(reader, json);
  AdapterConfig config;
  config.file = path;
  if (reader.has("base_model_name_or_path")) config.base_model = reader.string("base_model_name_or_path");
  config.rank = reader.count("r");
  config.alpha = reader.number("lora_alpha");
  config.rank_stabilized = reader.boolean("use_rslora", false);
  config.rank_pattern = read_pattern(reader, json, "rank_pattern");
  config.alpha_pattern = read_pattern(reader, json, "alpha_pattern");
  if (!std::isfinite(config.alpha) || config.alpha <= 0)
    reader.fail(Code::kModelFormat, "lora_alpha", "expected a number above 0, found ", config.alpha);
  const auto check_alpha = [&](const char* key, double alpha) {
    if (alpha > kMostAlpha)
      reader.fail(Code::kModelFormat, key, "expected a number of at most ", int64_t(kMostAlpha), ", found ", alpha);
  };
  check_alpha("lora_alpha", config.alpha);
  for (const auto& [name, alpha] : config.alpha_pattern) check_alpha("alpha_pattern", alpha);
  const auto check_rank = [&](const char* key, double rank) {
    if (rank > kMostRank || rank != std::floor(rank))
      reader.fail(Code::kUnsupported, key, "expected a rank in [1, ", kMostRank, "], found ", rank);
  };
  check_rank("r", config.rank);
  for (const auto& [name, rank] : config.rank_pattern) check_rank("rank_pattern", rank);
  return config;
}

void check_base_model(const AdapterConfig& adapter, const Config& model) {
  const bool is_20b = model.num_layers == 24 && model.num_experts == 32;
  const bool is_120b = model.num_layers == 36 && model.num_experts == 128;
  const std::string base = lower(adapter.base_model);
  const auto names = [&](const char* size) { return base.find(size) != std::string::npos; };
  if (!(is_20b && names("gpt-oss-120b")) && !(is_120b && names("gpt-oss-20b"))) return;
  throw Error(Code::kModelShape,
              str(adapter.file, ": base_model_name_or_path: expected a gpt-oss-", is_20b ? "20b" : "120b",
                  ", the model that is loaded, found ", quote(adapter.base_model)));
}

}  // namespace oss
