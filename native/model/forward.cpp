#include "native/model/forward.h"

#include <cmath>

namespace oss {

static KvGroup group_of(const Config& config, int layer) { return config.layer_sliding[layer] ? kKvWindow : kKvFull; }

// Of one layer: keys and values.
static size_t page_bytes(const Config& config, KvType type) {
  return size_t(2) * config.kv_size() * kPageTokens * (type == kKvBF16 ? 2 : 4);
}

size_t KvStorage::bytes_per_page(const Config& config, KvType type, KvGroup group) {
  size_t layers = 0;
  for (int layer = 0; layer < config.num_layers; ++layer) layers += group_of(config, layer) == group;
  return layers * page_bytes(config, type);
}

KvStorage::KvStorage(const Config& config, Backend& backend, KvType type, std::array<int, kKvGroups> pages) : type_(type) {
  size_t bytes[kKvGroups] = {};
  for (int layer = 0; layer < config.num_layers; ++layer) {
    const KvGroup group = group_of(config, layer);
    group_of_.push_back(group);
    offset_of_.push_back(bytes[group]);
    bytes[group] += size_t(pages[group]) * page_bytes(config, type);
  }
  for (int group = 0; group < kKvGroups; ++group) buffers_[group] = backend.allocate(bytes[group], "the KV cache");
}

Forward::Forward(const Model& model, Backend& backend, int max_tokens, int max_rows)
    : model_(model), backend_(backend) {
  const Config& c = model.config;
  const size_t tokens = max_tokens, rows = max_rows;
  const struct {
    float** at;
    size_t elements;
  } parts[] = {
      {&x_, tokens * c.hidden},
      {&normed_, tokens * c.hidden},
      {&q_, tokens * c.q_size()},
      {&k_, tokens * c.kv_size()},
      {&v_, tokens * c.kv_size()},
      {&attended_, tokens * c.q_size()},
      {&router_logits_, tokens * c.num_experts},
      {reinterpret_cast<float**>(&expert_), tokens * c.experts_per_token},
      {&expert_weight_, tokens * c.experts_per_token},
      {&rows_, rows * c.hidden},
      {&rows_normed_, rows * c.hidden},
      {&logits_, rows * c.vocab},
  };
  // 16 floats = one cache line: no two tensors share a line, so threads that fill different ones do not disturb each other.
  const auto padded = [](size_t elements) { return (elements + 15) / 16 * 16; };
  size_t total = 0;
  for (const auto& part : parts) total += padded(part.elements);
  workspace_ = backend.allocate(total * sizeof(float), "the activations");
  float* next = workspace_.as<float>();
  for (const auto& part : parts) {
    *part.at = next;
    next += padded(part.elements);
  }
}

bool Forward::run(const Step& step, const KvStorage& kv, const std::atomic<bool>& stop) {
  const Config& c = model_.config;
  backend_.embed({.tokens = step.num_tokens, .hidden = c.hidden}, model_.embed, step, x_);
  for (int index = 0; index < c.num_layers; ++index) {
    if (stop.load(std::memory_order_relaxed)) return false;
    attention_block(model_.layers[index], index, step, kv);
    moe_block(model_.layers[index], step);
  }
  if (step.num_rows == 0) return true;
  backend_.gather_rows(step, c.hidden, x_, rows_);
  backend_.rms_norm({.rows = step.num_rows, .hidden = c.hidden, .eps = c.rms_eps}, rows_, model_.final_norm,
                    rows_normed_);
  backend_.lm_head({.rows = step.num_rows, .hidden = c.hidden, .vocab = c.vocab}, rows_normed_, model_.lm_head, logits_);
  return true;
}

// x += o_proj(attention(rope(qkv(norm(x)))))
void Forward::attention_block(const Layer& layer, int index, const Step& step, const KvStorage& kv) {
  const Config& c = model_.config;
  const int tokens = step.num_tokens;
  backend_.rms_norm({.rows = tokens, .hidden = c.hidden, .eps = c.rms_eps}, x_, layer.attn_norm, normed_);
  const auto project = [&](const Matrix& w, const Vector& bias, float* y) {
    backend_.linear({.rows = tokens, .in = c.hidden, .out = w.rows, .accumulate = 0}, normed_, w, &bias, y);
  };
  project(layer.q, layer.q_bias, q_);
  project(layer.k, layer.k_bias, k_);
  project(layer.v, layer.v_bias, v_);
  backend_.rope({.tokens = tokens, .heads = c.num_heads, .head_dim = c.head_dim, .row_stride = c.q_size()}, step, q_);
  backend_.rope({.tokens = tokens, .heads = c.num_kv_heads, .head_dim = c.head_dim, .row_stride = c.kv_size()}, step, k_);
  backend_.kv_write({.kv_heads = c.num_kv_heads, .head_dim = c.head_dim, .group = kv.group(index), .type = kv.type()}, step,
                    k_, v_, kv.layer(index));
  backend_.attention({.tokens = tokens,
                      .heads = c.num_heads,
                      .kv_heads = c.num_kv_heads,
                      .head_dim = c.head_dim,
                      .group = kv.group(index),
                      .type = kv.type(),
                      .window = c.window_of(index),
                      .max_pages = step.max_pages,
                      .scale = float(1 / std::sqrt(double(c.head_dim)))},
                     step, q_, kv.layer(index), layer.sinks, attended_);
  backend_.linear({.rows = tokens, .in = c.q_size(), .out = c.hidden, .accumulate = 1}, attended_, layer.o, &layer.o_bias,
                  x_);
}

// x += Σ over the chosen experts of weight · expert(norm(x))
void Forward::moe_block(const Layer& layer, const Step& step) {
  const Config& c = model_.config;
  const int tokens = step.num_tokens;
  backend_.rms_norm({.rows = tokens, .hidden = c.hidden, .eps = c.rms_eps}, x_, layer.mlp_norm, normed_);
  backend_.linear({.rows = tokens, .in = c.hidden, .out = c.num_experts, .accumulate = 0}, normed_, layer.router,
                  &layer.router_bias, router_logits_);
  backend_.router({.tokens = tokens, .experts = c.num_experts, .top_k = c.experts_per_token}, router_logits_, expert_,
                  expert_weight_);
  backend_.experts({.tokens = tokens,
                    .hidden = c.hidden,
                    .intermediate = c.intermediate,
                    .experts = c.num_experts,
                    .top_k = c.experts_per_token,
                    .limit = c.swiglu_limit,
                    .alpha = c.swiglu_alpha},
                   normed_, expert_, expert_weight_, layer.gate_up, layer.down, x_);
}

}  // namespace oss
