#include "native/model/model.h"

#include "native/model/weights.h"

namespace oss {

uint64_t packed_bytes(const Config& c, const WeightPacker& packer) {
  const auto product = [&](int64_t rows, int64_t cols) { return packer.matrix_bytes(rows, cols, MatrixUse::kProduct); };
  const auto vector = [&](int64_t size) { return packer.vector_bytes(size); };
  const uint64_t attention = vector(c.hidden) + product(c.q_size(), c.hidden) + 2 * product(c.kv_size(), c.hidden) +
                             vector(c.q_size()) + 2 * vector(c.kv_size()) + vector(c.num_heads) +
                             product(c.hidden, c.q_size()) + vector(c.hidden);
  const uint64_t moe =
      vector(c.hidden) + packer.matrix_bytes(c.num_experts, c.hidden, MatrixUse::kRouter) + vector(c.num_experts) +
      packer.experts_bytes(c.num_experts, 2 * int64_t(c.intermediate), c.hidden) +
      vector(int64_t(c.num_experts) * 2 * c.intermediate) +
      packer.experts_bytes(c.num_experts, c.hidden, c.intermediate) + vector(int64_t(c.num_experts) * c.hidden);
  return packer.matrix_bytes(c.vocab, c.hidden, MatrixUse::kTable) + product(c.vocab, c.hidden) + vector(c.hidden) +
         uint64_t(c.num_layers) * (attention + moe);
}

std::vector<ExpertShape> expert_shapes(const Config& c) {
  std::vector<ExpertShape> shapes;
  for (int layer = 0; layer < c.num_layers; ++layer) {
    shapes.push_back({c.num_experts, 2 * int64_t(c.intermediate), c.hidden});
    shapes.push_back({c.num_experts, c.hidden, c.intermediate});
  }
  return shapes;
}

Model pack_model(std::unique_ptr<const Checkpoint> checkpoint, WeightPacker& packer,
                 const std::function<void(size_t, size_t)>& progress) {
  const HostWeights host = bind_weights(checkpoint->config, checkpoint->tensors);
  const auto product = [&](const HostTensor& weight) { return packer.pack_matrix(weight, MatrixUse::kProduct); };
  const auto vector = [&](const HostTensor& values) { return packer.pack_vector(values); };
  Model model;
  model.config = checkpoint->config;
  model.embed = packer.pack_matrix(host.embed, MatrixUse::kTable);
  model.lm_head = product(host.lm_head);
  model.final_norm = vector(host.final_norm);
  model.layers.reserve(host.layers.size());
  for (const HostLayer& from : host.layers) {
    progress(model.layers.size(), host.layers.size());
    // Members are filled in the order of their declaration: q, k and v, and their biases, lie side by side.
    model.layers.push_back({
        .attn_norm = vector(from.attn_norm),
        .qkv = {.q = packer.pack_rope_matrix(from.q),
                .k = packer.pack_rope_matrix(from.k),
                .v = product(from.v),
                .q_bias = vector(from.q_bias),
                .k_bias = vector(from.k_bias),
                .v_bias = vector(from.v_bias)},
        .sinks = vector(from.sinks),
        .o = product(from.o),
        .o_bias = vector(from.o_bias),
        .mlp_norm = vector(from.mlp_norm),
        .router_bias = vector(from.router_bias),
        .router = packer.pack_matrix(from.router, MatrixUse::kRouter),
        .gate_up = packer.pack_experts(from.gate_up_blocks, from.gate_up_scales, from.gate_up_bias, ExpertUse::kGateUp),
        .down = packer.pack_experts(from.down_blocks, from.down_scales, from.down_bias, ExpertUse::kDown),
    });
  }
  packer.loaded();
  progress(host.layers.size(), host.layers.size());
  model.checkpoint = std::move(checkpoint);
  return model;
}

}  // namespace oss
