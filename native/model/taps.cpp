#include "native/model/taps.h"

#include <cstring>
#include <utility>

#include "kernels/common/dtype.h"
#include "native/base/str.h"

namespace oss {
namespace {

std::vector<float> widened(KvType type, std::span<const std::byte> bytes) {
  std::vector<float> out(bytes.size() / size_t(kv_element_bytes(type)));
  for (size_t i = 0; i < out.size(); ++i) {
    if (type == kKvF32) {
      std::memcpy(&out[i], &bytes[i * sizeof(float)], sizeof(float));
    } else if (type == kKvBF16) {
      uint16_t bits;
      std::memcpy(&bits, &bytes[i * sizeof bits], sizeof bits);
      out[i] = bf16_to_f32(bits);
    } else {
      out[i] = e4m3_to_f32(uint8_t(bytes[i]));
    }
  }
  return out;
}

}  // namespace

Taps::Taps(std::unique_ptr<Dump> dump, Backend& backend, const Config& config)
    : dump_(std::move(dump)), backend_(backend), config_(config) {}

void Taps::begin(const Step& step, const float* x) {
  dump_->begin_step();
  const int64_t tokens[] = {step.num_tokens}, rows[] = {step.num_rows};
  dump_->write("tokens", tokens, step.tokens);
  dump_->write("positions", tokens, step.positions);
  dump_->write("sequence", tokens, step.sequence);
  dump_->write("logit_tokens", rows, step.logit_tokens);
  x_ = read(x, size_t(step.num_tokens) * size_t(config_.hidden));
}

void Taps::attention_block(int layer, const AttentionBlock& block, const Step& step) {
  backend_.Backend::attention_block(block, step);
  const int64_t tokens = step.num_tokens, hidden = config_.hidden, head_dim = config_.head_dim;
  const int64_t heads = config_.num_heads, kv_heads = config_.num_kv_heads;
  const KvArgs cache = {.kv_heads = block.qkv_args.kv_heads,
                        .head_dim = block.qkv_args.head_dim,
                        .group = block.qkv_args.group,
                        .type = block.qkv_args.type};
  write(layer, "attn_norm", {tokens, hidden}, read(block.normed, size_t(tokens * hidden)));
  write(layer, "q_rope", {tokens, heads, head_dim}, read(block.q, size_t(tokens * heads * head_dim)));
  write(layer, "k_rope", {tokens, kv_heads, head_dim}, read(cache, block.cache, step, false));
  write(layer, "v", {tokens, kv_heads, head_dim}, read(cache, block.cache, step, true));
  write(layer, "attn", {tokens, heads * head_dim}, read(block.attended, size_t(tokens * heads * head_dim)));
  write_added(layer, "attn_out", block.x);
}

void Taps::moe_block(int layer, const MoeBlock& block, const Step& step) {
  backend_.Backend::moe_block(block);
  const int64_t tokens = step.num_tokens, hidden = config_.hidden;
  const int64_t experts = config_.num_experts, top_k = config_.experts_per_token;
  write(layer, "mlp_norm", {tokens, hidden}, read(block.normed, size_t(tokens * hidden)));
  write(layer, "router_logits", {tokens, experts}, read(block.router_logits, size_t(tokens * experts)));
  const std::vector<float> bits = read(reinterpret_cast<const float*>(block.expert), size_t(tokens * top_k));
  std::vector<int32_t> chosen(bits.size());
  std::memcpy(chosen.data(), bits.data(), bits.size() * sizeof(float));
  dump_->write(str(layer, ".expert_index"), Shape{tokens, top_k}, chosen);
  write(layer, "expert_weight", {tokens, top_k}, read(block.expert_weight, size_t(tokens * top_k)));
  write_added(layer, "mlp_out", block.x);
  write(layer, "out", {tokens, hidden}, x_);
}

void Taps::head(const Step& step, Operand normed, const float* logits) {
  const int64_t rows = step.num_rows, hidden = config_.hidden, vocab = config_.vocab;
  dump_->write("final_norm", Shape{rows, hidden}, read(normed, size_t(rows * hidden)));
  dump_->write("logits", Shape{rows, vocab}, read(logits, size_t(rows * vocab)));
}

std::vector<float> Taps::read(const float* from, size_t count) {
  std::vector<float> out(count);
  backend_.read(from, out);
  return out;
}

std::vector<float> Taps::read(Operand from, size_t count) {
  if (backend_.sizes().operand_bytes() == sizeof(float)) return read(from.as<float>(), count);
  const std::vector<float> raw = read(from.as<float>(), (count + 1) / 2);
  std::vector<float> out = widened(kKvBF16, std::as_bytes(std::span(raw)));
  out.resize(count);
  return out;
}

// Returns the keys or values of the step's tokens, read from their pages.
std::vector<float> Taps::read(const KvArgs& cache, const void* layer, const Step& step, bool values) {
  const size_t head_dim = size_t(cache.head_dim), heads = size_t(cache.kv_heads);
  const size_t half = heads * kPageTokens * head_dim;  // elements of the keys (or of the values) in a page
  const size_t half_bytes = half * size_t(kv_element_bytes(cache.type));
  std::vector<float> out, page;
  out.reserve(size_t(step.num_tokens) * heads * head_dim);
  int32_t in_memory = -1;
  for (size_t t = 0; t < size_t(step.num_tokens); ++t) {
    const size_t position = size_t(step.positions[t]);
    const size_t entry = size_t(step.sequence[t]) * size_t(step.max_pages) + position / kPageTokens;
    const int32_t number = step.block_tables[cache.group][entry];
    if (std::exchange(in_memory, number) != number) {
      const auto* from = static_cast<const std::byte*>(layer) + (2 * size_t(number) + values) * half_bytes;
      const std::vector<float> raw = read(reinterpret_cast<const float*>(from), half_bytes / sizeof(float));
      page = widened(cache.type, std::as_bytes(std::span(raw)));
    }
    for (size_t head = 0; head < heads; ++head) {
      const auto row = page.begin() + int64_t((head * kPageTokens + position % kPageTokens) * head_dim);
      out.insert(out.end(), row, row + int64_t(head_dim));
    }
  }
  return out;
}

void Taps::write(int layer, const char* name, const Shape& shape, std::span<const float> values) {
  dump_->write(str(layer, ".", name), shape, values);
}

void Taps::write_added(int layer, const char* name, const float* x) {
  const std::vector<float> after = read(x, x_.size());
  std::vector<float> added(after.size());
  for (size_t i = 0; i < after.size(); ++i) added[i] = after[i] - x_[i];
  write(layer, name, {int64_t(after.size()) / config_.hidden, config_.hidden}, added);
  x_ = after;
}

}  // namespace oss
