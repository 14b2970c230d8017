// Attention: the step's tokens in blocks that share their keys, and the keys of long sequences in chunks.
#include <algorithm>

#include "native/backend/cpu/cpu_backend.h"

namespace oss {

CpuBackend::AttentionKernel CpuBackend::attention_kernel(const AttentionArgs& args) const {
  if (bf16_ != nullptr && bf16_->attention_chunk != nullptr && args.head_dim == kHeadDim) {
    return {bf16_->attention_tokens, bf16_->attention_work(args), bf16_->attention_chunk};
  }
  return {cpu::kAttentionTokens, cpu::attention_work_floats(args), kernels_.attention_chunk};
}

void CpuBackend::divide_attention(const AttentionArgs& args, const Step& step, int block_tokens) {
  constexpr int kChunkTokens = cpu::kChunkPages * kPageTokens;
  blocks_.clear();
  size_t parts = 0;
  for (int t = 0; t < args.tokens;) {
    int n = 1;
    while (n < block_tokens && t + n < args.tokens && step.sequence[t + n] == step.sequence[t] &&
           step.positions[t + n] == step.positions[t] + n) {
      ++n;
    }
    blocks_.push_back({.first = t,
                       .tokens = n,
                       .first_chunk = cpu::attention_first_key(args, step.positions[t]) / kChunkTokens,
                       .last_chunk = step.positions[t + n - 1] / kChunkTokens,
                       .first_part = parts});
    parts += blocks_.back().parts(args);
    t += n;
  }
}

void CpuBackend::attention(const AttentionArgs& args, const Step& step, Operand queries, const void* cache,
                           const Vector& sinks, Operand attended) {
  const float* q = queries.as<float>();
  float* out = attended.as<float>();
  if (args.tokens == 0) return;
  const AttentionKernel kernel = attention_kernel(args);
  divide_attention(args, step, kernel.tokens);
  const size_t q_row = size_t(args.heads) * args.head_dim;
  const std::span<const int32_t> table = step.block_tables[args.group];
  const auto task_of = [&](const TokenBlock& block, int kv_head) {
    return cpu::AttentionTask{.tokens = block.tokens,
                              .kv_head = kv_head,
                              .q = q + block.first * q_row,
                              .positions = step.positions.data() + block.first,
                              .pages = table.data() + size_t(step.sequence[block.first]) * args.max_pages,
                              .cache = cache};
  };
  int most_tokens = 0;
  for (const TokenBlock& block : blocks_) most_tokens = std::max(most_tokens, block.tokens);
  const size_t state_floats = cpu::attention_state_floats(args, most_tokens), work_floats = kernel.work_floats;
  const size_t thread_floats = work_floats + 2 * state_floats;
  float* work = attention_work_.reserve<float>(thread_floats * pool_.size(), "attention");

  // Threads take one pass each when there are enough passes; else they share the chunks of a long sequence. The sums
  // are the same either way.
  const int64_t num_tasks = int64_t(blocks_.size()) * args.kv_heads;
  const int64_t num_parts = int64_t(blocks_.back().first_part + blocks_.back().parts(args));
  const bool share = num_tasks < 2 * pool_.size() && num_parts > num_tasks && pool_.size() > 1;
  float* parts = nullptr;
  if (share) {
    parts = attention_parts_.reserve<float>(size_t(num_parts) * state_floats, "attention");
    pool_.parallel_for(num_parts, 1, [&](int64_t begin, int64_t end, int thread) {
      for (int64_t part = begin; part < end; ++part) {
        const auto after = std::upper_bound(blocks_.begin(), blocks_.end(), size_t(part),
                                            [](size_t p, const TokenBlock& b) { return p < b.first_part; });
        const TokenBlock& block = *(after - 1);
        const int chunks = block.last_chunk - block.first_chunk + 1, at = int(part - int64_t(block.first_part));
        kernel.chunk(args, task_of(block, at / chunks), block.first_chunk + at % chunks, work + thread_floats * thread,
                     parts + part * state_floats);
      }
    });
  }
  pool_.parallel_for(num_tasks, 1, [&](int64_t begin, int64_t end, int thread) {
    float* chunk_state = work + thread_floats * thread + work_floats;
    float* state = chunk_state + state_floats;
    for (int64_t i = begin; i < end; ++i) {
      const TokenBlock& block = blocks_[i / args.kv_heads];
      const int kv_head = int(i % args.kv_heads), chunks = block.last_chunk - block.first_chunk + 1;
      const cpu::AttentionTask task = task_of(block, kv_head);
      kernels_.attention_clear(args, block.tokens, state);
      for (int c = 0; c < chunks; ++c) {
        const float* from = chunk_state;
        if (share) {
          from = parts + (block.first_part + size_t(kv_head) * chunks + c) * state_floats;
        } else {
          kernel.chunk(args, task, block.first_chunk + c, chunk_state - work_floats, chunk_state);
        }
        kernels_.attention_merge(args, block.tokens, from, state);
      }
      kernels_.attention_finish(args, task, sinks.data, state, out + block.first * q_row);
    }
  });
}

}  // namespace oss
