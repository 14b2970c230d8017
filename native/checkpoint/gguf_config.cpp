// The config of a GGUF file. The keys are those of llama.cpp's src/llama-arch.cpp; conversion/gpt_oss.py writes them.
//
// Files of Ollama before August 2026 name the architecture "gptoss", here and in the prefix of the keys, and leave out
// expert_feed_forward_length and rope.scaling.type (ollama: llama/compat/llama-ollama-compat.cpp, handle_gptoss).
#include <algorithm>
#include <cmath>

#include "native/base/json.h"
#include "native/checkpoint/layout_gguf.h"

namespace oss {
namespace {

constexpr char kArchitecture[] = "gpt-oss", kOllamaArchitecture[] = "gptoss";
constexpr int64_t kMostCount = int64_t(1) << 24, kMostTokens = int64_t(1) << 40;  // as in json_file.h

// The keys of the architecture, without its prefix.
class Keys {
 public:
  Keys(const GgufMetadata& metadata, std::string prefix) : metadata_(metadata), prefix_(std::move(prefix)) {}

  std::string full(const char* key) const { return prefix_ + "." + key; }
  bool has(const char* key) const { return metadata_.has(full(key)); }
  int64_t tokens(const char* key) const { return metadata_.integer(full(key), 1, kMostTokens); }
  double number(const char* key) const { return metadata_.number(full(key)); }
  double number(const char* key, double fallback) const { return has(key) ? number(key) : fallback; }
  std::string text(const char* key) const { return std::string(metadata_.string(full(key))); }
  std::vector<int64_t> integers(const char* key, int64_t most) const { return metadata_.integers(full(key), 0, most); }

  // A number, or a list with the same number for each layer.
  int count(const char* key) const {
    const std::vector<int64_t> values = metadata_.integers(full(key), 1, kMostCount);
    for (const int64_t value : values) {
      if (value != values.front())
        fail(Code::kUnsupported, key, "expected one number for all layers, found ", values.front(), " and ", value);
    }
    if (values.empty())
      fail(Code::kModelFormat, key, "expected an integer in [1, ", kMostCount, "], found an empty list");
    return int(values.front());
  }

  // Refuses a number that our forward pass does not use.
  void expect_number(const char* key, double expected) const {
    if (has(key) && !(std::fabs(number(key) - expected) < 1e-4))
      fail(Code::kUnsupported, key, "expected ", expected, ", found ", number(key));
  }

  template <typename... Parts>
  [[noreturn]] void fail(Code code, const char* key, const Parts&... parts) const {
    metadata_.fail(code, full(key), parts...);
  }

 private:
  const GgufMetadata& metadata_;
  const std::string prefix_;
};

// Even layers slide, as in llama.cpp's src/models/openai-moe.cpp, unless the file says which ones.
std::vector<bool> read_sliding(const Keys& keys, const GgufMetadata& metadata, int num_layers) {
  constexpr char kKey[] = "attention.sliding_window_pattern";
  std::vector<bool> sliding;
  if (keys.has(kKey) && metadata.is_list(keys.full(kKey))) {
    for (const int64_t layer : keys.integers(kKey, 1)) sliding.push_back(layer != 0);
    if (int(sliding.size()) != num_layers)
      keys.fail(Code::kModelFormat, kKey, "expected ", num_layers, " entries, found ", sliding.size());
    return sliding;
  }
  const int period = keys.has(kKey) ? keys.count(kKey) : 2;  // the last layer of each period does not slide
  for (int i = 0; i < num_layers; ++i) sliding.push_back(i % period < period - 1);
  return sliding;
}

RopeConfig read_rope(const Keys& keys, int64_t max_context, bool ollama) {
  RopeConfig rope;
  rope.theta = keys.number("rope.freq_base");
  if (keys.has("rope.freq_base_swa")) keys.expect_number("rope.freq_base_swa", rope.theta);
  rope.original_context = max_context;
  const std::string type = keys.has("rope.scaling.type") ? keys.text("rope.scaling.type") : ollama ? "yarn" : "none";
  if (type == "none" && keys.number("rope.scaling.factor", 1) == 1) return rope;
  if (type != "yarn")
    keys.fail(Code::kUnsupported, "rope.scaling.type", "expected \"yarn\", found ",
              keys.has("rope.scaling.type") ? quote(type) : "nothing");
  rope.factor = keys.number("rope.scaling.factor");
  if (keys.has("rope.scaling.original_context_length"))
    rope.original_context = keys.tokens("rope.scaling.original_context_length");
  // Defaults of llama.cpp. It rounds the bounds of the ramp; gpt-oss was trained with bounds that are not rounded.
  rope.beta_fast = keys.number("rope.scaling.yarn_beta_fast", 32);
  rope.beta_slow = keys.number("rope.scaling.yarn_beta_slow", 1);
  rope.truncate = false;
  keys.expect_number("rope.scaling.attn_factor", 1);
  keys.expect_number("rope.scaling.yarn_attn_factor", 1);
  keys.expect_number("rope.scaling.yarn_ext_factor", 1);
  return rope;
}

// The rows of a tensor that Ollama reads where the metadata has no number.
int rows_of_experts(const Keys& keys, const StoredTensors& tensors) {
  constexpr char kKey[] = "expert_feed_forward_length";
  if (keys.has(kKey)) return keys.count(kKey);
  if (const StoredTensor* gate = tensors.find("blk.0.ffn_gate_exps.weight"); gate && gate->data.shape.size() == 3)
    return int(std::min(gate->data.shape[1], kMostCount));
  return keys.count("feed_forward_length");
}

// The end tokens, without <|end|>: it ends a message, and more messages of the answer may follow. Some converters list
// it as end of turn (eot_token_id), which therefore is not read.
std::vector<int32_t> read_eos(const GgufMetadata& metadata) {
  constexpr int32_t kEndOfMessage = 200007;
  std::vector<int32_t> tokens;
  for (const char* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eos_token_ids"}) {
    if (!metadata.has(key)) continue;
    for (const int64_t token : metadata.integers(key, 0, kMostCount)) {
      if (token != kEndOfMessage) tokens.push_back(int32_t(token));
    }
  }
  return tokens;
}

int vocabulary_size(const GgufMetadata& metadata, const Keys& keys, const StoredTensors& tensors) {
  const StoredTensor* table = tensors.find("token_embd.weight");
  if (table == nullptr)
    throw Error(Code::kModelFormat, str(metadata.file(), ": expected a tensor \"token_embd.weight\", found none"));
  const int64_t rows = table->data.shape.front();
  const auto expect_rows = [&](const std::string& key, int64_t found) {
    if (found != rows)
      metadata.fail(Code::kModelFormat, key, "expected ", rows, " tokens, as \"token_embd.weight\" has, found ", found);
  };
  constexpr char kTokens[] = "tokenizer.ggml.tokens";
  if (metadata.has(kTokens)) expect_rows(kTokens, int64_t(metadata.length(kTokens)));
  if (keys.has("vocab_size")) expect_rows(keys.full("vocab_size"), keys.count("vocab_size"));
  return int(std::min(rows, kMostCount));
}

}  // namespace

Config read_gguf_config(const GgufMetadata& metadata, const StoredTensors& tensors, bool& ollama) {
  constexpr char kKey[] = "general.architecture";
  const std::string architecture(metadata.string(kKey));
  ollama = architecture == kOllamaArchitecture;
  if (!ollama && architecture != kArchitecture)
    metadata.fail(Code::kUnsupported, kKey, "not a gpt-oss model: ", quote(architecture));
  const Keys keys(metadata, architecture);
  Config c;
  c.num_layers = keys.count("block_count");
  if (c.num_layers > int64_t(1) << 16)
    keys.fail(Code::kUnsupported, "block_count", "expected at most 65536, found ", c.num_layers);
  c.hidden = keys.count("embedding_length");
  c.intermediate = rows_of_experts(keys, tensors);
  c.num_heads = keys.count("attention.head_count");
  c.num_kv_heads = keys.has("attention.head_count_kv") ? keys.count("attention.head_count_kv") : c.num_heads;
  c.head_dim = keys.has("attention.key_length") ? keys.count("attention.key_length") : c.hidden / c.num_heads;
  for (const char* key : {"attention.value_length", "rope.dimension_count"}) {
    if (keys.has(key) && keys.count(key) != c.head_dim)
      keys.fail(Code::kUnsupported, key, "expected attention.key_length = ", c.head_dim, ", found ", keys.count(key));
  }
  c.num_experts = keys.count("expert_count");
  c.experts_per_token = keys.count("expert_used_count");
  c.vocab = vocabulary_size(metadata, keys, tensors);
  c.layer_sliding = read_sliding(keys, metadata, c.num_layers);
  const bool slides = std::find(c.layer_sliding.begin(), c.layer_sliding.end(), true) != c.layer_sliding.end();
  if (slides || keys.has("attention.sliding_window")) c.sliding_window = keys.count("attention.sliding_window");
  c.rms_eps = float(keys.number("attention.layer_norm_rms_epsilon"));
  c.swiglu_limit = 7;  // constants in the code of llama.cpp and Ollama
  c.swiglu_alpha = 1.702f;
  c.max_context = keys.tokens("context_length");
  c.rope = read_rope(keys, c.max_context, ollama);
  c.eos_tokens = read_eos(metadata);
  return c;
}

}  // namespace oss
