// Defines the blocks of a layer: the mathematics that every override must implement.
#include "native/backend/blocks.h"

#include <chrono>

#include "native/backend/backend.h"
#include "native/base/error.h"
#include "native/base/str.h"

namespace oss {

double Backend::timed(const std::function<void()>& work, bool) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

ExpertMatrix WeightPacker::pack_bf16_experts(const HostTensor& weights, const HostTensor&) {
  throw Error(Code::kUnsupported, str(weights.file, ": this backend has no experts in bf16: ", weights.name));
}

// Adds the terms of one matrix of the layer to its product with x.
static void add_terms(Backend& backend, AdapterRows adapters, const LowRank LayerAdapter::* matrix, Operand x,
                      float* y) {
  if (adapters.empty()) return;
  std::vector<const LowRank*> terms;
  for (const LayerAdapter* adapter : adapters) terms.push_back(adapter != nullptr ? &(adapter->*matrix) : nullptr);
  backend.low_rank(RowsOf::kTokens, terms, x, y);
}

void Backend::attention_block(const AttentionBlock& b, const Step& step) {
  rms_norm(b.norm_args, RowsOf::kTokens, b.x, b.norm, b.normed);
  qkv(b.qkv_args, step, b.normed, b.qkv, b.adapters, b.q, b.cache);
  attention(b.attention_args, step, b.q, b.cache, b.sinks, b.attended);
  linear(b.o_args, RowsOf::kTokens, b.attended, b.o, &b.o_bias, b.x);
  add_terms(*this, b.adapters, &LayerAdapter::o, b.attended, b.x);
}

void Backend::moe_block(const MoeBlock& b) {
  rms_norm(b.norm_args, RowsOf::kTokens, b.x, b.norm, b.normed);
  linear(b.router_args, RowsOf::kTokens, b.normed, b.router, &b.router_bias, b.router_logits);
  add_terms(*this, b.adapters, &LayerAdapter::router, b.normed, b.router_logits);
  router(b.choice_args, b.router_logits, b.expert, b.expert_weight);
  experts(b.experts_args, b.normed, b.expert, b.expert_weight, b.gate_up, b.down, b.adapters, b.x);
}

}  // namespace oss
