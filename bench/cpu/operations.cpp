// The operations, in the order of backend/blocks.cpp.
#include <numeric>

#include "bench/cpu/bench.h"
#include "native/base/str.h"

namespace oss::bench {

// Operations without weights. Their inputs were just written and are in a cache here as in a step. So shares above 100
// % are possible.
void Bench::small_operations() {
  const Vector norm = packed_layer(0, "input_layernorm.").attn_norm;
  for (const int tokens : options_.tokens) {
    const auto arrays = make_step(tokens);
    const double width = double(tokens) * c_.hidden;
    const float* x = floats(size_t(width), 1);
    const Operand normed = operand(size_t(width), 1);
    if (wanted("rms_norm")) {
      measure({.kernel = "rms_norm", .tokens = tokens, .bytes = 4 * width, .flops = 4 * width}, [&](size_t) {
        backend_->rms_norm({.rows = tokens, .hidden = c_.hidden, .eps = c_.rms_eps}, RowsOf::kTokens, x, norm, normed);
      });
    }
    if (wanted("router")) {
      const float* logits = floats(size_t(tokens) * c_.num_experts, 1);
      auto* index = static_cast<int32_t*>(allocate(size_t(tokens) * c_.experts_per_token * sizeof(int32_t)));
      float* weight = floats(size_t(tokens) * c_.experts_per_token, 1);
      measure({.kernel = "router", .tokens = tokens, .bytes = 4.0 * tokens * c_.num_experts}, [&](size_t) {
        backend_->router({.tokens = tokens, .experts = c_.num_experts, .top_k = c_.experts_per_token}, logits, index,
                         weight);
      });
    }
    if (tokens <= kMostSequences && wanted("gather")) {
      float* rows = floats(size_t(width), 1);
      measure({.kernel = "gather", .tokens = tokens, .bytes = 4 * width},
              [&](size_t) { backend_->gather_rows(arrays->step, c_.hidden, x, rows); });
    }
  }
}

void Bench::embed() {
  if (!wanted("embed")) return;
  const Matrix table = packed("model.embed_tokens.").embed;
  for (const int tokens : options_.tokens) {
    const double width = double(tokens) * c_.hidden;
    float* x = floats(size_t(width), 1);
    // the steps have different tokens, 32,768 together if each is short: 190 MB of rows
    std::vector<std::unique_ptr<StepArrays>> steps;
    const auto num_steps = size_t(tiny_ ? 1 : std::clamp(32768 / tokens, 16, 4096));
    while (steps.size() < num_steps) steps.push_back(make_step(tokens));
    measure({.kernel = "embed", .tokens = tokens, .bytes = dense_bytes(width)}, [&](size_t i) {
      backend_->embed({.tokens = tokens, .hidden = c_.hidden}, table, steps[i % steps.size()]->step, x);
    });
  }
}

void Bench::qkv() {
  if (!wanted("qkv")) return;
  const double rows = c_.q_size() + 2 * c_.kv_size(), bytes = dense_bytes(rows * c_.hidden);
  const auto copies = rotating(bytes, [&](size_t i) {
    QkvWeights out;
    const auto take = [&](const char* name, auto... members) {
      const QkvWeights one = packed_layer(i, name).qkv;
      ((out.*members = one.*members), ...);
    };
    take("self_attn.q_proj.", &QkvWeights::q, &QkvWeights::q_bias);
    take("self_attn.k_proj.", &QkvWeights::k, &QkvWeights::k_bias);
    take("self_attn.v_proj.", &QkvWeights::v, &QkvWeights::v_bias);
    return out;
  });
  const KvType type = backend_->sizes().defaults().kv_type;
  for (const int tokens : options_.tokens) {
    const auto arrays = make_step(tokens);
    const Operand x = operand(size_t(tokens) * c_.hidden, 1), q = operand(size_t(tokens) * c_.q_size(), 1);
    void* cache = allocate(size_t(arrays->pages) * 2 * c_.kv_size() * kPageTokens * kv_element_bytes(type));
    const QkvArgs args = {.tokens = tokens,
                          .hidden = c_.hidden,
                          .heads = c_.num_heads,
                          .kv_heads = c_.num_kv_heads,
                          .head_dim = c_.head_dim,
                          .group = kKvFull,
                          .type = type};
    measure({.kernel = "qkv",
             .tokens = tokens,
             .on_bf16_unit = true,
             .bytes = bytes,
             .flops = 2.0 * tokens * rows * c_.hidden},
            [&](size_t i) { backend_->qkv(args, arrays->step, x, copies[i % copies.size()], {}, q, cache); });
  }
}

void Bench::attention() {
  const KvType type = backend_->sizes().defaults().kv_type;
  const Vector sinks = packed_layer(0, "self_attn.sinks").sinks;
  for (const int tokens : options_.tokens) {
    for (const int context : options_.contexts) {
      const auto arrays = make_step(tokens, context);
      const int sequences = arrays->step.num_sequences, each = tokens / sequences, seen = arrays->positions.back() + 1;
      const size_t cache_bytes = size_t(arrays->pages) * 2 * c_.kv_size() * kPageTokens * kv_element_bytes(type);
      std::vector<float*> caches;  // with room for the longest; allocated at the first use
      const size_t buffers_before = buffers_.size();
      const Operand q = operand(size_t(tokens) * c_.q_size(), 1), out = operand(size_t(tokens) * c_.q_size(), 1);
      for (const KvGroup group : {kKvFull, kKvWindow}) {
        const std::string kernel = group == kKvFull ? "attention full" : "attention window";
        if (!wanted(kernel)) continue;
        if (caches.empty()) {
          caches = rotating(double(cache_bytes), [&](size_t) {
            auto* cache = static_cast<float*>(allocate(cache_bytes));
            fill_cache(cache, cache_bytes, type);
            return cache;
          });
        }
        const int window = group == kKvWindow ? c_.sliding_window : 0;
        double keys = 0;  // over all tokens
        for (const int position : arrays->positions) keys += window > 0 ? std::min(position + 1, window) : position + 1;
        const int distinct = window > 0 ? std::min(seen, window + each - 1) : seen;
        const AttentionArgs args = {.tokens = tokens,
                                    .heads = c_.num_heads,
                                    .kv_heads = c_.num_kv_heads,
                                    .head_dim = c_.head_dim,
                                    .group = group,
                                    .type = type,
                                    .window = window,
                                    .max_pages = arrays->step.max_pages,
                                    .scale = float(1 / std::sqrt(double(c_.head_dim)))};
        measure({.kernel = kernel,
                 .tokens = tokens,
                 .context = seen,
                 .on_bf16_unit = info_.isa == "amx" && c_.head_dim == kHeadDim,
                 .bytes = 2.0 * sequences * distinct * c_.kv_size() * kv_element_bytes(type),
                 .flops = 4 * keys * c_.q_size()},
                [&](size_t i) { backend_->attention(args, arrays->step, q, caches[i % caches.size()], sinks, out); });
      }
      buffers_.erase(buffers_.begin() + ptrdiff_t(buffers_before), buffers_.end());
    }
  }
}

void Bench::linear_o() {
  if (!wanted("linear o")) return;
  const double weights = double(c_.q_size()) * c_.hidden, bytes = dense_bytes(weights);
  const auto copies = rotating(bytes, [&](size_t i) { return packed_layer(i, "self_attn.o_proj."); });
  for (const int tokens : options_.tokens) {
    const Operand attended = operand(size_t(tokens) * c_.q_size(), 1);
    float* x = floats(size_t(tokens) * c_.hidden, 1);
    const LinearArgs args = {.rows = tokens, .in = c_.q_size(), .out = c_.hidden, .accumulate = 1};
    measure(
        {.kernel = "linear o", .tokens = tokens, .on_bf16_unit = true, .bytes = bytes, .flops = 2 * weights * tokens},
        [&](size_t i) {
          const Layer& layer = copies[i % copies.size()];
          backend_->linear(args, RowsOf::kTokens, attended, layer.o, &layer.o_bias, x);
        });
  }
}

void Bench::linear_router() {
  if (!wanted("linear router")) return;
  const double bytes = 2.0 * c_.num_experts * c_.hidden;
  const auto copies = rotating(bytes, [&](size_t i) { return packed_layer(i, "mlp.router."); });
  for (const int tokens : options_.tokens) {
    const Operand normed = operand(size_t(tokens) * c_.hidden, 1);
    float* logits = floats(size_t(tokens) * c_.num_experts, 0);
    const LinearArgs args = {.rows = tokens, .in = c_.hidden, .out = c_.num_experts, .accumulate = 0, .precise = 1};
    measure(
        {.kernel = "linear router", .tokens = tokens, .on_bf16_unit = true, .bytes = bytes, .flops = bytes * tokens},
        [&](size_t i) {
          const Layer& layer = copies[i % copies.size()];
          backend_->linear(args, RowsOf::kTokens, normed, layer.router, &layer.router_bias, logits);
        });
  }
}

// top_k different experts for each token. The first token takes them from a deck that rotates from call to call. So a
// single token uses all experts before it uses one again. The other tokens draw from all experts. Draws repeat until
// `distinct` experts are used, so that all calls do the same work.
std::vector<int32_t> Bench::draw_experts(int tokens, std::vector<int32_t>& deck, int distinct) {
  std::vector<int32_t> all(size_t(c_.num_experts));
  std::iota(all.begin(), all.end(), 0);
  std::vector<int32_t> index(size_t(tokens) * c_.experts_per_token);
  std::vector<bool> touched;
  do {
    touched.assign(all.size(), false);
    for (int t = 0; t < tokens; ++t) {
      std::ranges::shuffle(all, random_);
      for (int k = 0; k < c_.experts_per_token; ++k) {
        const int32_t expert = t == 0 ? deck[size_t(k)] : all[size_t(k)];
        index[size_t(t * c_.experts_per_token + k)] = expert;
        touched[size_t(expert)] = true;
      }
    }
  } while (std::ranges::count(touched, true) != distinct);
  std::ranges::rotate(deck, deck.begin() + c_.experts_per_token);
  return index;
}

void Bench::experts() {
  if (!wanted("experts")) return;
  // MXFP4 takes 17 bytes for 32 weights; biases are float32.
  const auto matrix_bytes = [](double rows, double cols) { return rows * cols * 17 / 32 + 4 * rows; };
  const double expert_bytes = matrix_bytes(2 * c_.intermediate, c_.hidden) + matrix_bytes(c_.hidden, c_.intermediate);
  // Half as much again as for other operations, 4 layers of the 20b: a step of few tokens reads only a small part of a
  // layer.
  const auto copies =
      rotating(expert_bytes * c_.num_experts / 1.5, [&](size_t i) { return packed_layer(i, "mlp.experts."); });
  for (const int tokens : options_.tokens) {
    const Operand normed = operand(size_t(tokens) * c_.hidden, 1);
    float* x = floats(size_t(tokens) * c_.hidden, 1);
    const size_t pairs = size_t(tokens) * c_.experts_per_token;
    const std::vector<float> weight(pairs, 1.0f / float(c_.experts_per_token));
    // The expected number when all experts are equally likely.
    const double untouched = std::pow(1 - double(c_.experts_per_token) / c_.num_experts, tokens);
    const int distinct = int(std::lround(c_.num_experts * (1 - untouched)));
    std::vector<int32_t> deck(size_t(c_.num_experts));
    std::iota(deck.begin(), deck.end(), 0);
    std::ranges::shuffle(deck, random_);
    std::vector<std::vector<int32_t>> draws;
    while (draws.size() < 64) draws.push_back(draw_experts(tokens, deck, distinct));  // each uses all layers in turn
    const ExpertsArgs args = {.tokens = tokens,
                              .hidden = c_.hidden,
                              .intermediate = c_.intermediate,
                              .experts = c_.num_experts,
                              .top_k = c_.experts_per_token,
                              .limit = c_.swiglu_limit,
                              .alpha = c_.swiglu_alpha};
    measure({.kernel = "experts",
             .tokens = tokens,
             .on_bf16_unit = true,
             .bytes = expert_bytes * distinct,
             .flops = 6.0 * double(pairs) * c_.hidden * c_.intermediate},
            [&](size_t i) {
              const Layer& layer = copies[i % copies.size()];
              const std::vector<int32_t>& index = draws[i / copies.size() % draws.size()];
              backend_->experts(args, normed, index.data(), weight.data(), layer.gate_up, layer.down, {}, x);
            });
  }
}

void Bench::head() {
  if (!wanted("linear head")) return;
  const double weights = double(c_.vocab) * c_.hidden, bytes = dense_bytes(weights);
  const auto copies = rotating(bytes, [&](size_t) { return packed("lm_head.").lm_head; });
  for (const int rows : options_.tokens) {
    if (rows > kMostSequences) continue;
    const Operand normed = operand(size_t(rows) * c_.hidden, 1);
    float* logits = floats(size_t(rows) * c_.vocab, 0);
    const LinearArgs args = {.rows = rows, .in = c_.hidden, .out = c_.vocab, .accumulate = 0, .precise = 1};
    measure(
        {.kernel = "linear head", .tokens = rows, .on_bf16_unit = true, .bytes = bytes, .flops = 2 * weights * rows},
        [&](size_t i) { backend_->linear(args, RowsOf::kLogits, normed, copies[i % copies.size()], nullptr, logits); });
  }
}

void Bench::sample() {
  struct Kind {
    const char* name;
    float temperature, top_p;
  };
  for (const int rows : options_.tokens) {
    if (rows > kMostSequences) continue;
    float* logits = floats(size_t(rows) * c_.vocab, 2.5f);
    for (const Kind& kind : {Kind{"greedy", 0, 1}, Kind{"temperature", 1, 1}, Kind{"top-p 0.95", 1, 0.95f}}) {
      const std::string kernel = str("sample ", kind.name);
      if (!wanted(kernel)) continue;
      std::vector<SamplingArgs> args(size_t(rows), SamplingArgs{});
      for (int r = 0; r < rows; ++r) {
        args[size_t(r)].temperature = kind.temperature;
        args[size_t(r)].top_p = kind.top_p;
        args[size_t(r)].repetition_penalty = 1;
        args[size_t(r)].seed_lo = unsigned(r);
      }
      const std::vector<SamplingContext> contexts(size_t(rows), SamplingContext{});
      measure({.kernel = kernel, .tokens = rows, .bytes = 4.0 * rows * c_.vocab}, [&](size_t i) {
        for (SamplingArgs& one : args) one.position = unsigned(i);
        backend_->sample(rows, c_.vocab, logits, args, contexts);
        backend_->sampled();
      });
    }
  }
}

}  // namespace oss::bench
