#include "native/model/config.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "native/base/error.h"
#include "native/base/str.h"

namespace oss {
namespace {

constexpr int kMxBlock = 32;  // weights that share one scale

// Keys are named as in the Hugging Face config. Limits come from the indices, registers and stack arrays of kernels.
struct Dimension {
  const char* key;
  int Config::* value;
  int highest;
};
constexpr Dimension kDimensions[] = {
    {"num_hidden_layers", &Config::num_layers, 1024},
    {"hidden_size", &Config::hidden, 1 << 16},
    {"intermediate_size", &Config::intermediate, 1 << 16},
    {"num_attention_heads", &Config::num_heads, 1024},
    {"num_key_value_heads", &Config::num_kv_heads, 1024},
    {"head_dim", &Config::head_dim, 256},
    {"num_local_experts", &Config::num_experts, 1024},
    {"num_experts_per_tok", &Config::experts_per_token, 16},
    {"vocab_size", &Config::vocab, 1 << 22},
};

class Checker {
 public:
  explicit Checker(const std::string& file) : file_(file) {}

  template <typename Value>
  void expect(bool fine, const char* key, const char* expected, const Value& found,
              Code code = Code::kModelFormat) const {
    if (!fine) throw Error(code, str(file_, ": ", key, ": expected ", expected, ", found ", found));
  }
  void expect_multiple(const char* key, int value, const std::string& what, int divisor) const {
    expect(value % divisor == 0, key, str("a multiple of ", what).c_str(), value);
  }
  void expect_positive(const char* key, double value) const {
    expect(std::isfinite(value) && value > 0, key, "a finite number above 0", value);
  }

 private:
  const std::string& file_;
};

void check_rope(const RopeConfig& rope, const Checker& check) {
  check.expect(std::isfinite(rope.theta) && rope.theta > 1, "rope_theta", "a finite number above 1", rope.theta);
  check.expect(std::isfinite(rope.factor) && rope.factor >= 1, "rope_scaling factor", "a finite number of 1 or more",
               rope.factor);
  if (rope.factor == 1) return;
  check.expect_positive("rope_scaling beta_slow", rope.beta_slow);
  check.expect(std::isfinite(rope.beta_fast) && rope.beta_fast > rope.beta_slow, "rope_scaling beta_fast",
               str("a finite number above beta_slow = ", rope.beta_slow).c_str(), rope.beta_fast);
  check.expect(rope.original_context >= 1, "rope_scaling original_max_position_embeddings", "1 or more",
               rope.original_context);
}

}  // namespace

void check_config(const Config& c, const std::string& file) {
  const Checker check(file);
  for (const Dimension& dimension : kDimensions) {
    const int value = c.*dimension.value;
    check.expect(value >= 1, dimension.key, "1 or more", value);
    check.expect(value <= dimension.highest, dimension.key, str("at most ", dimension.highest).c_str(), value,
                 Code::kUnsupported);
  }
  check.expect_multiple("num_attention_heads", c.num_heads, str("num_key_value_heads = ", c.num_kv_heads),
                        c.num_kv_heads);
  check.expect_multiple("hidden_size", c.hidden, "32, the MXFP4 block", kMxBlock);
  check.expect_multiple("intermediate_size", c.intermediate, "32, the MXFP4 block", kMxBlock);
  check.expect_multiple("head_dim", c.head_dim, "2, as RoPE turns pairs", 2);
  check.expect(c.experts_per_token <= c.num_experts, "num_experts_per_tok",
               str("at most num_local_experts = ", c.num_experts).c_str(), c.experts_per_token);
  check.expect(int64_t(c.layer_sliding.size()) == c.num_layers, "layer_types",
               str("one entry for each of ", c.num_layers, " layers").c_str(), c.layer_sliding.size());
  const bool slides = std::find(c.layer_sliding.begin(), c.layer_sliding.end(), true) != c.layer_sliding.end();
  check.expect(!slides || c.sliding_window >= 1, "sliding_window", "1 or more", c.sliding_window);
  check.expect_positive("rms_norm_eps", c.rms_eps);
  check.expect_positive("swiglu_limit", c.swiglu_limit);
  check.expect_positive("swiglu_alpha", c.swiglu_alpha);
  check_rope(c.rope, check);
  check.expect(c.max_context >= 1, "max_position_embeddings", "1 or more", c.max_context);
  check.expect(c.max_context <= std::numeric_limits<int32_t>::max(), "max_position_embeddings",
               "positions that fit 31 bits", c.max_context, Code::kUnsupported);
  for (int32_t token : c.eos_tokens)
    check.expect(token >= 0 && token < c.vocab, "eos_token_id", str("ids below vocab_size = ", c.vocab).c_str(), token);
}

}  // namespace oss
