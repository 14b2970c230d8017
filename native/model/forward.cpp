#include "native/model/forward.h"

#include <cmath>
#include <utility>

namespace oss {

static KvGroup group_of(const Config& config, int layer) { return config.layer_sliding[layer] ? kKvWindow : kKvFull; }

// Bytes of one page of one layer: keys and values.
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

std::vector<Forward::Part> Forward::parts(const StepLimits& l, const BackendSizes& sizes) {
  const uint64_t tokens = uint64_t(l.tokens), rows = uint64_t(l.rows), q_size = uint64_t(l.heads) * l.head_dim;
  const uint64_t element = sizes.operand_bytes();
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
  if (sizes.operands_have_low()) {
    parts.push_back({[](Forward& f, void* at) { f.normed_.low = at; }, tokens * l.hidden * element});
    parts.push_back({[](Forward& f, void* at) { f.rows_normed_.low = at; }, rows * l.hidden * element});
  }
  return parts;
}

uint64_t Forward::workspace_bytes(const StepLimits& limits, const BackendSizes& sizes) {
  uint64_t total = 0;
  for (const Part& part : parts(limits, sizes)) total += padded(part.bytes);
  return total;
}

Forward::Forward(const Model& model, Backend& backend, const StepLimits& limits, std::unique_ptr<Dump> dump)
    : model_(model),
      backend_(backend),
      taps_(dump == nullptr ? nullptr : std::make_unique<Taps>(std::move(dump), backend, model.config)),
      workspace_(backend.allocate(workspace_bytes(limits, backend.sizes()), "the activations")) {
  std::byte* next = workspace_.as<std::byte>();
  for (const Part& part : parts(limits, backend.sizes())) {
    part.place(*this, next);
    next += padded(part.bytes);
  }
}

bool Forward::run(const Step& step, const KvStorage& kv, const std::atomic<bool>& stop) {
  const Config& c = model_.config;
  bool stopped = false;
  backend_.begin(step);
  const auto body = [&] {
    backend_.embed({.tokens = step.num_tokens, .hidden = c.hidden}, model_.embed, step, x_);
    if (taps_ != nullptr) taps_->begin(step, x_);
    for (int index = 0; index < c.num_layers && !stopped; ++index) {
      attention_block(index, step, kv);
      moe_block(index, step);
      stopped = stop.load(std::memory_order_relaxed);
    }
    if (step.num_rows > 0 && !stopped) head(step);
  };
  backend_.run(body, taps_ == nullptr);
  return !stopped;
}

AdapterRows Forward::adapters_of(int layer, const Step& step) {
  layer_adapters_.clear();
  for (const AdapterWeights* adapter : step.adapters) {
    layer_adapters_.push_back(adapter != nullptr ? &adapter->layers[size_t(layer)] : nullptr);
  }
  return layer_adapters_;
}

// logits[r] = lm_head(norm(x[logit_tokens[r]]))
void Forward::head(const Step& step) {
  const Config& c = model_.config;
  backend_.gather_rows(step, c.hidden, x_, rows_);
  backend_.rms_norm({.rows = step.num_rows, .hidden = c.hidden, .eps = c.rms_eps}, RowsOf::kLogits, rows_,
                    model_.final_norm, rows_normed_);
  backend_.linear({.rows = step.num_rows, .in = c.hidden, .out = c.vocab, .accumulate = 0, .precise = 1},
                  RowsOf::kLogits, rows_normed_, model_.lm_head, nullptr, logits_);
  if (!step.adapters.empty()) {
    std::vector<const LowRank*> terms;
    for (const int32_t token : step.logit_tokens) {
      const AdapterWeights* adapter = step.adapters[size_t(token)];
      terms.push_back(adapter != nullptr ? &adapter->lm_head : nullptr);
    }
    backend_.low_rank(RowsOf::kLogits, terms, rows_normed_, logits_);
  }
  if (taps_ != nullptr) taps_->head(step, rows_normed_, logits_);
}

void Forward::attention_block(int index, const Step& step, const KvStorage& kv) {
  const Config& c = model_.config;
  const Layer& layer = model_.layers[index];
  const int tokens = step.num_tokens;
  const KvGroup group = kv.group(index);
  const AttentionBlock block = {
      .norm_args = {.rows = tokens, .hidden = c.hidden, .eps = c.rms_eps},
      .qkv_args = {.tokens = tokens,
                   .hidden = c.hidden,
                   .heads = c.num_heads,
                   .kv_heads = c.num_kv_heads,
                   .head_dim = c.head_dim,
                   .group = group,
                   .type = kv.type()},
      .attention_args = {.tokens = tokens,
                         .heads = c.num_heads,
                         .kv_heads = c.num_kv_heads,
                         .head_dim = c.head_dim,
                         .group = group,
                         .type = kv.type(),
                         .window = c.window_of(index),
                         .max_pages = step.max_pages,
                         .scale = float(1 / std::sqrt(double(c.head_dim)))},
      .o_args = {.rows = tokens, .in = c.q_size(), .out = c.hidden, .accumulate = 1},
      .norm = layer.attn_norm,
      .qkv = layer.qkv,
      .sinks = layer.sinks,
      .o = layer.o,
      .o_bias = layer.o_bias,
      .next_qkv = index + 1 < c.num_layers ? &model_.layers[index + 1].qkv : nullptr,
      .adapters = adapters_of(index, step),
      .cache = kv.layer(index),
      .x = x_,
      .normed = {normed_.data},
      .q = q_,
      .attended = attended_,
  };
  if (taps_ == nullptr) {
    backend_.attention_block(block, step);
  } else {
    taps_->attention_block(index, block, step);
  }
}

void Forward::moe_block(int index, const Step& step) {
  const Config& c = model_.config;
  const Layer& layer = model_.layers[index];
  const int tokens = step.num_tokens;
  const MoeBlock block = {
      .norm_args = {.rows = tokens, .hidden = c.hidden, .eps = c.rms_eps},
      .router_args = {.rows = tokens, .in = c.hidden, .out = c.num_experts, .accumulate = 0, .precise = 1},
      .choice_args = {.tokens = tokens, .experts = c.num_experts, .top_k = c.experts_per_token},
      .experts_args = {.tokens = tokens,
                       .hidden = c.hidden,
                       .intermediate = c.intermediate,
                       .experts = c.num_experts,
                       .top_k = c.experts_per_token,
                       .limit = c.swiglu_limit,
                       .alpha = c.swiglu_alpha},
      .norm = layer.mlp_norm,
      .router = layer.router,
      .router_bias = layer.router_bias,
      .gate_up = layer.gate_up,
      .down = layer.down,
      .adapters = adapters_of(index, step),
      .x = x_,
      .normed = normed_,
      .router_logits = router_logits_,
      .expert = expert_,
      .expert_weight = expert_weight_,
  };
  if (taps_ == nullptr) {
    backend_.moe_block(block);
  } else {
    taps_->moe_block(index, block, step);
  }
}

}  // namespace oss
