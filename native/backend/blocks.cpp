// Defines the blocks of a layer: the mathematics that every override must implement.
#include "native/backend/blocks.h"

#include "native/backend/backend.h"

namespace oss {

void Backend::attention_block(const AttentionBlock& b, const Step& step) {
  rms_norm(b.norm_args, RowsOf::kTokens, b.x, b.norm, b.normed);
  qkv(b.qkv_args, step, b.normed, b.qkv, b.q, b.cache);
  attention(b.attention_args, step, b.q, b.cache, b.sinks, b.attended);
  linear(b.o_args, RowsOf::kTokens, b.attended, b.o, &b.o_bias, b.x);
}

void Backend::moe_block(const MoeBlock& b) {
  rms_norm(b.norm_args, RowsOf::kTokens, b.x, b.norm, b.normed);
  linear(b.router_args, RowsOf::kTokens, b.normed, b.router, &b.router_bias, b.router_logits);
  router(b.choice_args, b.router_logits, b.expert, b.expert_weight);
  experts(b.experts_args, b.normed, b.expert, b.expert_weight, b.gate_up, b.down, b.x);
}

}  // namespace oss
