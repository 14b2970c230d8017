// The two blocks of a layer, as the forward pass calls them. Each is a fixed order of single operations (blocks.cpp); a
// device that fuses some of them overrides the whole block.
#pragma once
#include "kernels/common/args.h"
#include "native/backend/low_rank.h"
#include "native/backend/tensors.h"

namespace oss {

// x += o(attention(rope(qkv(norm(x)))))
struct AttentionBlock {
  RmsNormArgs norm_args;
  QkvArgs qkv_args;
  AttentionArgs attention_args;
  LinearArgs o_args;

  const Vector& norm;
  const QkvWeights& qkv;
  const Vector& sinks;
  const Matrix& o;
  const Vector& o_bias;
  const QkvWeights* next_qkv;  // the next layer's weights, null in the last layer: a device can prefetch them
  AdapterRows adapters;        // of each token; empty when no token of the step has one

  void* cache;  // the layer's part of the KV cache
  float* x;     // [tokens, hidden] residual stream
  // Work memory: a device may leave anything in it.
  Operand normed;       // [tokens, hidden]
  Operand q, attended;  // [tokens, q_size]
};

// x += Σ over the chosen experts of weight · expert(norm(x))
struct MoeBlock {
  RmsNormArgs norm_args;
  LinearArgs router_args;
  RouterArgs choice_args;
  ExpertsArgs experts_args;

  const Vector& norm;
  const Matrix& router;
  const Vector& router_bias;
  const ExpertMatrix& gate_up;
  const ExpertMatrix& down;
  AdapterRows adapters;  // as in AttentionBlock

  float* x;  // [tokens, hidden] residual stream
  // Work memory: a device may leave anything in it.
  Operand normed;        // [tokens, hidden]
  float* router_logits;  // [tokens, experts]
  int32_t* expert;       // [tokens, top_k]
  float* expert_weight;  // [tokens, top_k]
};

}  // namespace oss
