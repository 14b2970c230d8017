// What a gpt-oss checkpoint says about itself. Every number here is read from its config.json, none is assumed.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace oss {

struct RopeConfig {
  double theta = 0;       // base of the frequencies
  double factor = 1;      // YaRN: how much longer than the original context; 1 = plain RoPE
  double beta_fast = 32;  // turns over the original context above which a pair is left alone
  double beta_slow = 1;   // ... and below which it is interpolated fully
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
  int sliding_window = 0;           // keys a query sees on sliding layers, itself included
  std::vector<bool> layer_sliding;  // [num_layers]
  float rms_eps = 0;
  float swiglu_limit = 0;
  float swiglu_alpha = 0;
  RopeConfig rope;
  int64_t max_context = 0;          // tokens the model was made for
  std::vector<int32_t> eos_tokens;  // as the files list them; may be empty

  int q_size() const { return num_heads * head_dim; }
  int kv_size() const { return num_kv_heads * head_dim; }
  int window_of(int layer) const { return layer_sliding[layer] ? sliding_window : 0; }  // 0 = sees everything
};

// Throws kModelFormat (a value is impossible) or kUnsupported (possible, but not something our kernels run).
// `file` is named in the message.
void check_config(const Config& config, const std::string& file);

}  // namespace oss
