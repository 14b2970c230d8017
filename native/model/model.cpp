#include "native/model/model.h"

#include "native/model/weights.h"

namespace oss {

Model pack_model(std::unique_ptr<const Checkpoint> checkpoint, Backend& backend,
                 const std::function<void(size_t, size_t)>& progress) {
  const HostWeights host = bind_weights(checkpoint->config, checkpoint->tensors);
  Model model;
  model.config = checkpoint->config;
  model.embed = backend.pack_matrix(host.embed);
  model.lm_head = backend.pack_matrix(host.lm_head);
  model.final_norm = backend.pack_vector(host.final_norm);
  model.layers.reserve(host.layers.size());
  for (const HostLayer& from : host.layers) {
    progress(model.layers.size(), host.layers.size());
    model.layers.push_back({
        .attn_norm = backend.pack_vector(from.attn_norm),
        .q_bias = backend.pack_vector(from.q_bias),
        .k_bias = backend.pack_vector(from.k_bias),
        .v_bias = backend.pack_vector(from.v_bias),
        .sinks = backend.pack_vector(from.sinks),
        .o_bias = backend.pack_vector(from.o_bias),
        .q = backend.pack_matrix(from.q),
        .k = backend.pack_matrix(from.k),
        .v = backend.pack_matrix(from.v),
        .o = backend.pack_matrix(from.o),
        .mlp_norm = backend.pack_vector(from.mlp_norm),
        .router_bias = backend.pack_vector(from.router_bias),
        .router = backend.pack_matrix(from.router),
        .gate_up = backend.pack_experts(from.gate_up_blocks, from.gate_up_scales, from.gate_up_bias),
        .down = backend.pack_experts(from.down_blocks, from.down_scales, from.down_bias),
    });
  }
  progress(host.layers.size(), host.layers.size());
  model.checkpoint = std::move(checkpoint);
  return model;
}

}  // namespace oss
