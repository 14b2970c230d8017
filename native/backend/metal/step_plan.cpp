#include "native/backend/metal/step_plan.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "kernels/common/mxfp4.h"
#include "kernels/common/q8.h"
#include "native/backend/metal/operations.h"

namespace oss::metal {
namespace {

// Addresses of no memory, each with its tensor's size, and the part of it that a dispatch moves.
class Addresses {
 public:
  template <typename T>
  T* take(uint64_t elements, bool is_weight = false) {
    const uint64_t bytes = elements * sizeof(T);
    auto* at = reinterpret_cast<T*>(next_);
    tensors_[next_] = {bytes, is_weight};
    next_ += padded(bytes) + padded(1);
    return at;
  }
  template <typename T>
  T* weight(uint64_t elements) {
    return take<T>(elements, true);
  }
  // From now on, a dispatch moves so many bytes of this tensor.
  void moves(const void* at, uint64_t bytes) { tensors_[reinterpret_cast<uintptr_t>(at)].moved = bytes; }

  void count(const Argument& argument, PlannedKernel& kernel) const {
    const auto found = std::prev(tensors_.upper_bound(reinterpret_cast<uintptr_t>(argument.at)));
    const Tensor& tensor = found->second;
    const uint64_t bytes =
        std::min<uint64_t>(argument.bytes, tensor.moved) * (argument.kind == Argument::Kind::kReadWrite ? 2 : 1);
    kernel.bytes += bytes;
    if (tensor.is_weight) kernel.weight_bytes += bytes;
  }

 private:
  struct Tensor {
    uint64_t moved;
    bool is_weight;
  };
  uintptr_t next_ = 1 << 20;
  std::map<uintptr_t, Tensor> tensors_;
};

// A device on which nothing runs: it notes what would.
class NotingDevice final : public Device {
 public:
  explicit NotingDevice(const Addresses& addresses) : addresses_(addresses) {}

  const DeviceLimits& limits() const override { return limits_; }
  uint64_t allocated_bytes() const override { return 0; }
  void* allocate(size_t) override { return nullptr; }
  bool wrap(const void*, size_t) override { return false; }
  void release(const void*) override {}
  size_t page_bytes() const override { return 16384; }
  size_t bytes_from(const void*) const override { return 0; }
  bool make_resident() override { return true; }
  std::unique_ptr<Commands> commands() override { return std::make_unique<Noting>(*this); }

  std::vector<PlannedKernel> kernels;

 private:
  class Noting final : public Commands {
   public:
    explicit Noting(NotingDevice& device) : device_(device) {}
    void dispatch(const Dispatch& one) override { device_.note(one); }
    void barrier() override {}
    void commit() override {}
    void wait() override {}
    double seconds() const override { return 0; }

   private:
    NotingDevice& device_;
  };

  void note(const Dispatch& one) {
    auto found = std::ranges::find(kernels, std::string(one.kernel), &PlannedKernel::kernel);
    if (found == kernels.end()) {
      kernels.push_back({.kernel = one.kernel, .dispatches = 0, .groups = one.groups, .threads = one.threads});
      found = std::prev(kernels.end());
    }
    ++found->dispatches;
    for (const Argument& argument : one.arguments) {
      if (argument.kind != Argument::Kind::kBytes) addresses_.count(argument, *found);
    }
  }

  const Addresses& addresses_;
  DeviceLimits limits_;
};

}  // namespace

std::vector<PlannedKernel> plan_step(const StepLimits& l, std::span<const int> windows, DenseWeights dense, KvType type,
                                     const PlannedStep& step) {
  Addresses memory;
  const auto device = std::make_shared<NotingDevice>(memory);
  Encoder encoder(device);
  const bool alone = step.tokens == 1;
  const int tokens = step.tokens * step.sequences, rows = step.sequences;
  const uint64_t t = uint64_t(tokens), hidden = uint64_t(l.hidden), inner = uint64_t(l.intermediate);
  const uint64_t q_size = uint64_t(l.heads) * l.head_dim, kv_size = uint64_t(l.kv_heads) * l.head_dim;
  const uint64_t experts_chosen = std::min<uint64_t>(uint64_t(l.experts), t * uint64_t(l.top_k));

  const auto matrix = [&](uint64_t out, uint64_t in) -> Rows {
    if (dense == DenseWeights::kBF16) return Rows(memory.weight<uint16_t>(out * in));
    const auto* codes = memory.weight<int8_t>(out * in);
    return Rows(codes, memory.weight<uint16_t>(out * in / kQ8Block));
  };
  const auto expert_matrix = [&](uint64_t out, uint64_t in) -> Experts {
    const uint64_t all = uint64_t(l.experts) * out;
    const Experts made = {.blocks = memory.weight<uint8_t>(all * in / 2),
                          .scales = memory.weight<uint8_t>(all * in / kMxBlock),
                          .bias = memory.weight<float>(all)};
    memory.moves(made.blocks, experts_chosen * out * in / 2);
    memory.moves(made.scales, experts_chosen * out * in / kMxBlock);
    memory.moves(made.bias, experts_chosen * out * sizeof(float));
    return made;
  };

  const int pages = (step.keys + step.tokens + kPageTokens - 1) / kPageTokens;
  StepArrays arrays{.tokens = tokens, .sequences = step.sequences, .rows = rows, .max_pages = pages};
  arrays.token_ids = memory.take<int32_t>(t);
  arrays.positions = memory.take<int32_t>(t);
  arrays.sequence = memory.take<int32_t>(t);
  for (auto& table : arrays.block_tables) table = memory.take<int32_t>(uint64_t(step.sequences) * uint64_t(pages));
  arrays.rope = memory.take<float>(t * l.head_dim);
  arrays.logit_tokens = memory.take<int32_t>(uint64_t(rows));
  arrays.drawn = memory.take<SampleResult>(uint64_t(rows));
  arrays.tile = memory.take<AttentionTile>(t);
  arrays.single = memory.take<int32_t>(t);
  arrays.tiles = alone ? 0 : (step.tokens + kAttentionTile - 1) / kAttentionTile;
  arrays.singles = alone ? tokens : 0;
  arrays.most_keys = alone ? step.keys + 1 : 0;

  auto* x = memory.take<float>(t * hidden);
  auto* normed = memory.take<uint16_t>(t * hidden);
  auto* normed_low = memory.take<uint16_t>(t * hidden);
  auto* q = memory.take<uint16_t>(t * q_size);
  auto* attended = memory.take<uint16_t>(t * q_size);
  auto* attention_parts = memory.take<float>(attention_scratch_bytes(arrays.singles, l.heads) / sizeof(float) + 1);
  auto* router_logits = memory.take<float>(t * uint64_t(l.experts));
  auto* index = memory.take<int32_t>(t * uint64_t(l.top_k));
  auto* weight = memory.take<float>(t * uint64_t(l.top_k));
  auto* scratch = memory.take<uint8_t>(experts_scratch_bytes(tokens, l.top_k, l.experts, l.hidden, l.intermediate));

  const Rows table = matrix(uint64_t(l.vocab), hidden);
  const uint64_t row_bytes = dense == DenseWeights::kBF16 ? hidden * 2 : hidden;
  memory.moves(table.is_q8() ? static_cast<const void*>(table.codes) : table.bf16, t * row_bytes);
  if (table.is_q8()) memory.moves(table.scales, t * hidden / kQ8Block * 2);
  embed(encoder, {.tokens = tokens, .hidden = l.hidden}, arrays, table, l.vocab, x);
  for (const int window : windows) {  // in the order of native/backend/blocks.cpp
    const KvGroup group = window > 0 ? kKvWindow : kKvFull;
    rms_norm(encoder, {.rows = tokens, .hidden = l.hidden, .eps = 0}, x, memory.weight<float>(hidden), normed, nullptr);
    const QkvMatrices matrices = {.q = matrix(q_size, hidden),
                                  .k = matrix(kv_size, hidden),
                                  .v = matrix(kv_size, hidden),
                                  .q_bias = memory.weight<float>(q_size),
                                  .k_bias = memory.weight<float>(kv_size),
                                  .v_bias = memory.weight<float>(kv_size)};
    const uint64_t element = uint64_t(kv_element_bytes(type)), page_bytes = 2 * kv_size * kPageTokens * element;
    const Cache cache = {memory.take<uint16_t>(uint64_t(step.sequences) * uint64_t(pages) * page_bytes / 2),
                         size_t(step.sequences) * size_t(pages) * page_bytes};
    memory.moves(cache.at, t * 2 * kv_size * element / 2);  // written, and declared to be updated
    qkv(encoder,
        {.tokens = tokens,
         .hidden = l.hidden,
         .heads = l.heads,
         .kv_heads = l.kv_heads,
         .head_dim = l.head_dim,
         .group = group,
         .type = type},
        arrays, normed, matrices, q, cache);
    const int all_keys = step.keys + step.tokens;
    const int visible = window > 0 ? std::min(all_keys, window + step.tokens - 1) : all_keys;
    memory.moves(cache.at, uint64_t(step.sequences) * uint64_t(visible) * 2 * kv_size * element);
    attention(encoder,
              {.tokens = tokens,
               .heads = l.heads,
               .kv_heads = l.kv_heads,
               .head_dim = l.head_dim,
               .group = group,
               .type = type,
               .window = window,
               .max_pages = pages,
               .scale = 1},
              arrays, q, cache, memory.weight<float>(uint64_t(l.heads)), attention_parts, attended);
    linear(encoder, {.rows = tokens, .in = int(q_size), .out = l.hidden, .accumulate = 1}, attended, nullptr,
           matrix(hidden, q_size), memory.weight<float>(hidden), x);
    const RouterArgs choice = {.tokens = tokens, .experts = l.experts, .top_k = l.top_k};
    const auto* norm = memory.weight<float>(hidden);
    const auto* router_weights = memory.weight<uint16_t>(uint64_t(l.experts) * hidden);
    const auto* router_bias = memory.weight<float>(uint64_t(l.experts));
    if (fuses_router(tokens, l.hidden, l.experts)) {
      norm_router(encoder, choice, l.hidden, 0, x, norm, router_weights, router_bias, normed, index, weight);
    } else {
      rms_norm(encoder, {.rows = tokens, .hidden = l.hidden, .eps = 0}, x, norm, normed, normed_low);
      linear(encoder, {.rows = tokens, .in = l.hidden, .out = l.experts, .accumulate = 0, .precise = 1}, normed,
             normed_low, Rows(router_weights), router_bias, router_logits);
      router(encoder, choice, router_logits, index, weight);
    }
    experts(encoder,
            {.tokens = tokens,
             .hidden = l.hidden,
             .intermediate = l.intermediate,
             .experts = l.experts,
             .top_k = l.top_k,
             .limit = 7,
             .alpha = 1.702f},
            normed, index, weight, expert_matrix(2 * inner, hidden), expert_matrix(hidden, inner), scratch, x);
  }
  auto* row_values = memory.take<float>(uint64_t(rows) * hidden);
  auto* logits = memory.take<float>(uint64_t(rows) * uint64_t(l.vocab));
  gather_rows(encoder, {.tokens = rows, .hidden = l.hidden}, arrays, x, row_values);
  rms_norm(encoder, {.rows = rows, .hidden = l.hidden, .eps = 0}, row_values, memory.weight<float>(hidden), normed,
           normed_low);
  linear(encoder, {.rows = rows, .in = l.hidden, .out = l.vocab, .accumulate = 0, .precise = 1}, normed, normed_low,
         matrix(uint64_t(l.vocab), hidden), nullptr, logits);
  const SampleInputs inputs = {.parameters = memory.take<SampleRow>(uint64_t(rows)),
                               .seen = memory.take<SampleSeen>(1),
                               .bias = memory.take<SampleBias>(1),
                               .allowed = memory.take<uint32_t>(1),
                               .seen_count = 0,
                               .bias_count = 0,
                               .allowed_count = 0,
                               .logit_rows = size_t(rows)};
  sample(encoder, rows, l.vocab, logits, inputs, memory.take<uint8_t>(sample_scratch_bytes(rows, l.vocab)),
         memory.take<SampleResult>(uint64_t(rows)));
  encoder.commit();
  return device->kernels;
}

}  // namespace oss::metal
