// The config of a gpt-oss checkpoint. Every number here is read from its config.json; none is assumed.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace oss {

struct RopeConfig {
  double theta = 0;       // base of the frequencies
  double factor = 1;      // YaRN: the length relative to the original context; 1 = plain RoPE
  double beta_fast = 32;  // pairs with more turns over the original context are left alone
  double beta_slow = 1;   // ... and pairs with fewer turns are interpolated fully
  int64_t original_context = 0;
  bool truncate = false;  // round the ramp's bounds (gpt-oss: no)
};

struct Config {
  int num_layers = 0;
  int hidden = 0;
  int intermediate = 0;
  int num_heads = 0;
  int num_kv_heads = 0;
  int head_dim = 0;
  int num_experts = 0;
  int experts_per_token = 0;
  int vocab = 0;
  int sliding_window = 0;           // keys that a query sees on sliding layers, itself included
  std::vector<bool> layer_sliding;  // [num_layers]
  float rms_eps = 0;
  float swiglu_limit = 0;
  float swiglu_alpha = 0;
  RopeConfig rope;
  int64_t max_context = 0;          // tokens for which the model was made
  std::vector<int32_t> eos_tokens;  // as listed in the files; may be empty

  int q_size() const { return num_heads * head_dim; }
  int kv_size() const { return num_kv_heads * head_dim; }
  int window_of(int layer) const { return layer_sliding[layer] ? sliding_window : 0; }  // 0 = full attention
};

// Throws kModelFormat (a value is impossible) or kUnsupported (possible, but our kernels cannot run it). The message
// names `file`.
void check_config(const Config& config, const std::string& file);

}  // namespace oss
