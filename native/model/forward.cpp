#include "native/model/forward.h"

#include <cmath>

namespace oss {

static KvGroup group_of(const Config& config, int layer) { return config.layer_sliding[layer] ? kKvWindow : kKvFull; }

// Of one layer: keys and values.
static size_t page_bytes(const Config& config, KvType type) {
  return size_t(2) * config.kv_size() * kPageTokens * kv_element_bytes(type);
}

size_t KvStorage::bytes_per_page(const Config& config, KvType type, KvGroup group) {
  size_t layers = 0;
  for (int layer = 0; layer < config.num_layers; ++layer) layers += group_of(config, layer) == group;
  return layers * page_bytes(config, type);
}

KvStorage::KvStorage(const Config& config, Backend& backend, KvType type, std::array<int, kKvGroups> pages)
    : type_(type) {
  size_t bytes[kKvGroups] = {};
  for (int layer = 0; layer < config.num_layers; ++layer) {
    const KvGroup group = group_of(config, layer);
    group_of_.push_back(group);
    offset_of_.push_back(bytes[group]);
    bytes[group] += size_t(pages[group]) * page_bytes(config, type);
  }
  for (int group = 0; group < kKvGroups; ++group) buffers_[group] = backend.allocate(bytes[group], "the KV cache");
}

std::vector<Forward::Part> Forward::parts(const StepLimits& l, const Backend& backend) {
  const uint64_t tokens = uint64_t(l.tokens), rows = uint64_t(l.rows), q_size = uint64_t(l.heads) * l.head_dim;
  const uint64_t element = backend.operand_bytes();
  std::vector<Part> parts = {
      {[](Forward& f, void* at) { f.x_ = static_cast<float*>(at); }, tokens * l.hidden * sizeof(float)},
      {[](Forward& f, void* at) { f.normed_.data = at; }, tokens * l.hidden * element},
      {[](Forward& f, void* at) { f.q_.data = at; }, tokens * q_size * element},
      {[](Forward& f, void* at) { f.attended_.data = at; }, tokens * q_size * element},
      {[](Forward& f, void* at) { f.router_logits_ = static_cast<float*>(at); }, tokens * l.experts * sizeof(float)},
      {[](Forward& f, void* at) { f.expert_ = static_cast<int32_t*>(at); }, tokens * l.top_k * sizeof(int32_t)},
      {[](Forward& f, void* at) { f.expert_weight_ = static_cast<float*>(at); }, tokens * l.top_k * sizeof(float)},
      {[](Forward& f, void* at) { f.rows_ = static_cast<float*>(at); }, rows * l.hidden * sizeof(float)},
      {[](Forward& f, void* at) { f.rows_normed_.data = at; }, rows * l.hidden * element},
      {[](Forward& f, void* at) { f.logits_ = static_cast<float*>(at); }, rows * l.vocab * sizeof(float)},
  };
  if (backend.operands_have_low()) {
    parts.push_back({[](Forward& f, void* at) { f.normed_.low = at; }, tokens * l.hidden * element});
    parts.push_back({[](Forward& f, void* at) { f.rows_normed_.low = at; }, rows * l.hidden * element});
  }
  return parts;
}

// 256 bytes: no two tensors share a cache line or a memory transaction.
static uint64_t padded(uint64_t bytes) { return (bytes + 255) / 256 * 256; }

uint64_t Forward::workspace_bytes(const StepLimits& limits, const Backend& backend) {
  uint64_t total = 0;
  for (const Part& part : parts(limits, backend)) total += padded(part.bytes);
  return total;
}

Forward::Forward(const Model& model, Backend& backend, const StepLimits& limits)
    : model_(model),
      backend_(backend),
      workspace_(backend.allocate(workspace_bytes(limits, backend), "the activations")) {
  std::byte* next = workspace_.as<std::byte>();
  for (const Part& part : parts(limits, backend)) {
    part.place(*this, next);
    next += padded(part.bytes);
  }
}

bool Forward::run(const Step& step, const KvStorage& kv, const std::atomic<bool>& stop) {
  const Config& c = model_.config;
  bool stopped = false;
  backend_.begin(step);
  backend_.run([&] {
    backend_.embed({.tokens = step.num_tokens, .hidden = c.hidden}, model_.embed, step, x_);
    for (int index = 0; index < c.num_layers && !stopped; ++index) {
      attention_block(model_.layers[index], index, step, kv);
      moe_block(model_.layers[index], step);
      stopped = stop.load(std::memory_order_relaxed);
    }
    if (step.num_rows > 0 && !stopped) head(step);
  });
  return !stopped;
}

// logits[r] = lm_head(norm(x[logit_tokens[r]]))
void Forward::head(const Step& step) {
  const Config& c = model_.config;
  backend_.gather_rows(step, c.hidden, x_, rows_);
  backend_.rms_norm({.rows = step.num_rows, .hidden = c.hidden, .eps = c.rms_eps}, RowsOf::kLogits, rows_,
                    model_.final_norm, rows_normed_);
  backend_.linear({.rows = step.num_rows, .in = c.hidden, .out = c.vocab, .accumulate = 0, .precise = 1},
                  RowsOf::kLogits, rows_normed_, model_.lm_head, nullptr, logits_);
}

// x += o_proj(attention(rope(qkv(norm(x)))))
void Forward::attention_block(const Layer& layer, int index, const Step& step, const KvStorage& kv) {
  const Config& c = model_.config;
  const int tokens = step.num_tokens;
  const KvGroup group = kv.group(index);
  const Operand normed = {normed_.data};
  backend_.rms_norm({.rows = tokens, .hidden = c.hidden, .eps = c.rms_eps}, RowsOf::kTokens, x_, layer.attn_norm,
                    normed);
  backend_.qkv({.tokens = tokens,
                .hidden = c.hidden,
                .heads = c.num_heads,
                .kv_heads = c.num_kv_heads,
                .head_dim = c.head_dim,
                .group = group,
                .type = kv.type()},
               step, normed, layer.qkv, q_, kv.layer(index));
  backend_.attention({.tokens = tokens,
                      .heads = c.num_heads,
                      .kv_heads = c.num_kv_heads,
                      .head_dim = c.head_dim,
                      .group = group,
                      .type = kv.type(),
                      .window = c.window_of(index),
                      .max_pages = step.max_pages,
                      .scale = float(1 / std::sqrt(double(c.head_dim)))},
                     step, q_, kv.layer(index), layer.sinks, attended_);
  backend_.linear({.rows = tokens, .in = c.q_size(), .out = c.hidden, .accumulate = 1}, RowsOf::kTokens, attended_,
                  layer.o, &layer.o_bias, x_);
}

// x += Σ over the chosen experts of weight · expert(norm(x))
void Forward::moe_block(const Layer& layer, const Step& step) {
  const Config& c = model_.config;
  const int tokens = step.num_tokens;
  backend_.rms_norm({.rows = tokens, .hidden = c.hidden, .eps = c.rms_eps}, RowsOf::kTokens, x_, layer.mlp_norm,
                    normed_);
  backend_.linear({.rows = tokens, .in = c.hidden, .out = c.num_experts, .accumulate = 0, .precise = 1},
                  RowsOf::kTokens, normed_, layer.router, &layer.router_bias, router_logits_);
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
