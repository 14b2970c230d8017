#include <algorithm>

#include "test/kernels/support.h"

namespace oss::test {

// Sequences in a paged cache whose pages lie in a scrambled order, between pages full of NaN that nobody may look at.
struct Paged {
  AttentionArgs args;
  std::vector<int> lengths;  // keys of each sequence
  std::vector<float> k, v;   // [all keys, kv_heads, head_dim], sequences one after another
  std::vector<int32_t> block_table;
  int max_pages = 0, num_pages = 0;

  Paged(AttentionArgs shape, std::vector<int> key_counts) : args(shape), lengths(std::move(key_counts)) {
    size_t keys = 0;
    for (const int length : lengths) {
      max_pages = std::max(max_pages, (length + kPageTokens - 1) / kPageTokens);
      keys += size_t(length);
    }
    k = random_floats(keys * args.kv_heads * args.head_dim, 11);
    v = random_floats(keys * args.kv_heads * args.head_dim, 12);
    num_pages = max_pages * int(lengths.size()) * 2 + 1;
    std::vector<int32_t> pages(num_pages / 2);
    for (size_t i = 0; i < pages.size(); ++i) pages[i] = int32_t(2 * i + 1);
    std::shuffle(pages.begin(), pages.end(), std::mt19937(5));
    block_table = pages;
    args.max_pages = max_pages;
    args.scale = 1 / std::sqrt(float(args.head_dim));
  }
  size_t first_key(int sequence) const {
    size_t first = 0;
    for (int s = 0; s < sequence; ++s) first += size_t(lengths[s]);
    return first;
  }

  // The step of these (sequence, position) pairs; the arrays live in this object.
  std::vector<int32_t> positions, sequence;
  Step step(const std::vector<std::pair<int, int>>& tokens) {
    positions.clear();
    sequence.clear();
    for (const auto& [s, position] : tokens) {
      sequence.push_back(s);
      positions.push_back(position);
    }
    Step step;
    step.num_tokens = int(tokens.size());
    step.num_sequences = int(lengths.size());
    step.positions = positions;
    step.sequence = sequence;
    step.block_table = block_table;
    step.max_pages = max_pages;
    return step;
  }
  std::vector<float> cache(CpuBackend& backend) {
    std::vector<float> cache(size_t(num_pages) * 2 * args.kv_heads * kPageTokens * args.head_dim, NAN);
    std::vector<std::pair<int, int>> all;
    for (int s = 0; s < int(lengths.size()); ++s) {
      for (int position = 0; position < lengths[s]; ++position) all.emplace_back(s, position);
    }
    backend.kv_write({args.kv_heads, args.head_dim}, step(all), k.data(), v.data(), cache.data());
    return cache;
  }
  std::vector<double> expected(const std::vector<std::pair<int, int>>& tokens, const std::vector<float>& q,
                               const std::vector<float>& sinks) const {
    const int d = args.head_dim, group = args.heads / args.kv_heads;
    std::vector<double> out;
    for (size_t t = 0; t < tokens.size(); ++t) {
      const auto [s, position] = tokens[t];
      const int first = args.window > 0 ? std::max(0, position - args.window + 1) : 0;
      for (int h = 0; h < args.heads; ++h) {
        std::vector<double> score, sum(d);
        double best = sinks[h];
        const auto row = [&](const std::vector<float>& of, int key) {
          return of.data() + ((first_key(s) + key) * args.kv_heads + h / group) * d;
        };
        for (int key = first; key <= position; ++key) {
          double dot = 0;
          for (int i = 0; i < d; ++i) dot += double(q[(t * args.heads + h) * d + i]) * row(k, key)[i];
          score.push_back(dot * args.scale);
          best = std::max(best, score.back());
        }
        double total = std::exp(sinks[h] - best);
        for (int key = first; key <= position; ++key) {
          const double p = std::exp(score[key - first] - best);
          total += p;
          for (int i = 0; i < d; ++i) sum[i] += p * row(v, key)[i];
        }
        for (int i = 0; i < d; ++i) out.push_back(sum[i] / total);
      }
    }
    return out;
  }
};

static std::vector<float> run(CpuBackend& backend, Paged& paged, const std::vector<std::pair<int, int>>& tokens,
                              const std::vector<float>& q, const std::vector<float>& cache,
                              const std::vector<float>& sinks) {
  std::vector<float> out(q.size());
  AttentionArgs args = paged.args;
  args.tokens = int(tokens.size());
  backend.attention(args, paged.step(tokens), q.data(), cache.data(), {sinks.data(), args.heads}, out.data());
  return out;
}

TEST("attention: golden sinks and windows") {
  const SafetensorsFile file = golden("attention");
  const std::vector<float> q = floats(file.tensors.at("q")), sinks = floats(file.tensors.at("sinks"));
  std::vector<std::pair<int, int>> tokens;
  for (int t = 0; t < 40; ++t) tokens.emplace_back(0, t);
  for (const cpu::Kernels* kernels : cpu::available_kernels()) {
    CpuBackend backend(*kernels, 2);
    for (const int window : {0, 1, 7}) {
      const std::vector<double> expected = doubles(file.tensors.at(str("expect_window", window, "_f64")));
      Paged paged(
          {.tokens = 40, .heads = 1, .kv_heads = 1, .head_dim = 64, .window = window, .max_pages = 1, .scale = 0},
          {40});
      paged.k = floats(file.tensors.at("k"));
      paged.v = floats(file.tensors.at("v"));
      const std::vector<float> cache = paged.cache(backend);
      for (size_t s = 0; s < sinks.size(); ++s) {
        const std::vector<float> out = run(backend, paged, tokens, q, cache, {sinks[s]});
        CHECK_CLOSE(str(kernels->isa, " window ", window, " sink ", sinks[s]), out.data(),
                    expected.data() + s * 40 * 64, 40 * 64, 5e-6, 0);
      }
    }
  }
}

TEST("attention: page and window edges, grouped heads, any head_dim, several sequences") {
  struct Shape {
    int heads, kv_heads, head_dim;
  };
  for (const Shape s : {Shape{8, 1, 64}, {4, 2, 64}, {6, 2, 48}, {3, 3, 18}, {10, 2, 16}}) {
    for (const int window : {0, 1, 7, 64, 128}) {
      Paged paged({.tokens = 0,
                   .heads = s.heads,
                   .kv_heads = s.kv_heads,
                   .head_dim = s.head_dim,
                   .window = window,
                   .max_pages = 0,
                   .scale = 0},
                  {1, 63, 64, 65, 127, 128, 129, 200});
      std::vector<std::pair<int, int>> tokens;
      for (int sequence = 0; sequence < int(paged.lengths.size()); ++sequence)
        tokens.emplace_back(sequence, paged.lengths[sequence] - 1);
      for (int position = 120; position < 140; ++position)
        tokens.emplace_back(7, position);  // prefill, over a page's edge
      const std::vector<float> q = random_floats(tokens.size() * s.heads * s.head_dim, 13, 2),
                               sinks = random_floats(s.heads, 14, 2);
      const std::vector<double> expected = paged.expected(tokens, q, sinks);
      std::vector<float> fastest;
      for (const cpu::Kernels* kernels : cpu::available_kernels()) {
        CpuBackend backend(*kernels, 2);
        const std::vector<float> cache = paged.cache(backend);
        const std::vector<float> out = run(backend, paged, tokens, q, cache, sinks);
        const std::string what =
            str(kernels->isa, " heads ", s.heads, "/", s.kv_heads, " head_dim ", s.head_dim, " window ", window);
        CHECK_CLOSE(what, out.data(), expected.data(), out.size(), 2e-6, 0);  // values are within 1; golden allows 5e-6
        if (fastest.empty()) fastest = out;
        if (fused(*kernels)) CHECK_BITS(what + " and the fastest", out, fastest);
      }
    }
  }
}

TEST("attention: a token's result does not depend on its batch, on chunking or on threads") {
  for (const int window : {0, 128}) {
    Paged paged({.tokens = 0, .heads = 8, .kv_heads = 2, .head_dim = 64, .window = window, .max_pages = 0, .scale = 0},
                {2200, 70});
    std::vector<std::pair<int, int>> tokens;
    for (int position = 1000; position < 1060; ++position)
      tokens.emplace_back(0, position);  // over the edge of a chunk
    for (int position = 2150; position < 2200; ++position) tokens.emplace_back(0, position);
    for (int position = 0; position < 70; ++position) tokens.emplace_back(1, position);
    const size_t row = 8 * 64;
    const std::vector<float> q = random_floats(tokens.size() * row, 15, 2), sinks = random_floats(8, 16);
    const std::vector<double> expected = paged.expected(tokens, q, sinks);
    for (const cpu::Kernels* kernels : cpu::available_kernels()) {
      std::vector<float> batch;
      for (const int threads : {1, 2, 3, 8}) {
        CpuBackend backend(*kernels, threads);
        const std::vector<float> cache = paged.cache(backend);
        const std::vector<float> out = run(backend, paged, tokens, q, cache, sinks);
        if (batch.empty()) batch = out;
        CHECK_BITS(str(kernels->isa, " window ", window, " threads ", threads), out, batch);
        std::vector<float> single;
        for (size_t t = 0; t < tokens.size(); ++t) {  // with 3 threads and more, two kv heads share their chunks
          const std::vector<float> one =
              run(backend, paged, {tokens[t]}, {q.begin() + t * row, q.begin() + (t + 1) * row}, cache, sinks);
          single.insert(single.end(), one.begin(), one.end());
        }
        CHECK_BITS(str(kernels->isa, " window ", window, " one by one, threads ", threads), single, batch);
      }
      CHECK_CLOSE(str(kernels->isa, " window ", window), batch.data(), expected.data(), batch.size(), 2e-6, 0);
    }
  }
}

TEST("attention: scores far apart neither overflow nor vanish") {
  Paged paged({.tokens = 0, .heads = 2, .kv_heads = 1, .head_dim = 64, .window = 0, .max_pages = 0, .scale = 0}, {150});
  const std::vector<std::pair<int, int>> tokens = {{0, 149}};
  const std::vector<float> q = random_floats(2 * 64, 17, 500);  // scores of hundreds
  for (const std::vector<float>& sinks : {std::vector<float>{-1e30f, -1e30f}, {0, 1000}}) {
    const std::vector<double> expected = paged.expected(tokens, q, sinks);
    for (const cpu::Kernels* kernels : cpu::available_kernels()) {
      CpuBackend backend(*kernels, 1);
      const std::vector<float> out = run(backend, paged, tokens, q, paged.cache(backend), sinks);
      // A score of s is off by s · 8 · 2^-24, and so is its probability.
      CHECK_CLOSE(kernels->isa, out.data(), expected.data(), out.size(), 1000 * 8 * 0x1p-24, 0);
    }
  }
}

}  // namespace oss::test
