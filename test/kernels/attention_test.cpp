#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "test/kernels/support.h"

namespace oss::test {

// Memory full of NaN, of either type, behind memory that must not be accessed: page -1 is there.
static Buffer nan_cache(size_t bytes, size_t page_bytes) {
  const size_t guard = (page_bytes + 65535) / 65536 * 65536;  // whole pages of any system
  void* all = mmap(nullptr, guard + bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(all != MAP_FAILED);
  CHECK_EQ(mprotect(all, guard, PROT_NONE), 0);
  void* cache = static_cast<std::byte*>(all) + guard;
  std::memset(cache, 0xFF, bytes);
  return Buffer(cache, bytes, [all, guard](void*, size_t size) { munmap(all, guard + size); });
}

// Sequences in a paged cache. Their pages are in scrambled order, between pages full of NaN that must not be read. The
// table of the other group names those pages.
struct Paged {
  AttentionArgs args;
  std::vector<int> lengths;  // keys of each sequence
  std::vector<float> k, v;   // [all keys, kv_heads, head_dim], sequences one after another
  std::vector<int32_t> block_table, other_table;
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
    for (const int32_t page : pages) other_table.push_back(page - 1);
    args.max_pages = max_pages;
    args.scale = 1 / std::sqrt(float(args.head_dim));
  }
  // Keys and values that bf16 holds exactly.
  void round() {
    for (std::vector<float>* values : {&k, &v}) {
      for (float& value : *values) value = bf16_to_f32(f32_to_bf16(value));
    }
  }
  size_t first_key(int sequence) const {
    size_t first = 0;
    for (int s = 0; s < sequence; ++s) first += size_t(lengths[s]);
    return first;
  }

  // The step of these (sequence, position) pairs; this object holds the arrays.
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
    step.block_tables[args.group] = block_table;
    step.block_tables[args.group == kKvFull ? kKvWindow : kKvFull] = other_table;
    step.max_pages = max_pages;
    return step;
  }
  size_t page_bytes() const {
    return size_t(2) * args.kv_heads * kPageTokens * args.head_dim * kv_element_bytes(args.type);
  }
  Buffer cache(CpuBackend& backend) {
    Buffer cache = nan_cache(num_pages * page_bytes(), page_bytes());
    std::vector<std::pair<int, int>> all;
    for (int s = 0; s < int(lengths.size()); ++s) {
      for (int position = 0; position < lengths[s]; ++position) all.emplace_back(s, position);
    }
    backend.kv_write({args.kv_heads, args.head_dim, args.group, args.type}, step(all), k.data(), v.data(),
                     cache.as<void>());
    return cache;
  }
  // Gives up the pages that are outside the window of all these tokens.
  void leave_pages(const std::vector<std::pair<int, int>>& tokens) {
    std::vector<int> first_page(lengths.size(), max_pages);
    for (const auto& [s, position] : tokens) {
      first_page[s] = std::min(first_page[s], cpu::attention_first_key(args, position) / kPageTokens);
    }
    for (size_t s = 0; s < lengths.size(); ++s) {
      std::fill_n(block_table.begin() + ptrdiff_t(s) * max_pages, first_page[s], -1);
    }
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

// The variants of attention: every instruction set, and every unit for bf16 that has a separate attention.
struct Variant {
  const char* name;
  const cpu::Kernels& kernels;
  const cpu::Bf16Kernels* bf16;
  double tolerance;  // for values within 1, queries within 2 and keys within 1
};
static std::vector<Variant> variants() {
  std::vector<Variant> all;
  for (const cpu::Kernels* kernels : cpu::available_kernels()) all.push_back({kernels->isa, *kernels, nullptr, 2e-6});
  // A number in two bf16 is off by 2^-18.6 of its value (root mean square), and so is the dropped term low·low. So a
  // product is off by 2^-17.8. A score of 64 products of size 0.67 is off by 2^-18.4. The bound is five times that,
  // doubled because probabilities and their sum are off, and doubled again for the products with values: below 2^-15.
  for (const cpu::Bf16Kernels* bf16 : cpu::available_bf16_kernels()) {
    if (bf16->attention_chunk != nullptr) all.push_back({bf16->isa, *cpu::available_kernels().front(), bf16, 0x1p-15});
  }
  return all;
}

static std::vector<float> run(CpuBackend& backend, Paged& paged, const std::vector<std::pair<int, int>>& tokens,
                              const std::vector<float>& q, const Buffer& cache, const std::vector<float>& sinks) {
  std::vector<float> out(q.size());
  AttentionArgs args = paged.args;
  args.tokens = int(tokens.size());
  backend.attention(args, paged.step(tokens), operand(q.data()), cache.as<void>(), {sinks.data(), args.heads},
                    operand(out.data()));
  return out;
}

TEST("attention: golden sinks and windows") {
  const SafetensorsFile file = golden("attention");
  const std::vector<float> q = floats(file.tensors.at("q")), sinks = floats(file.tensors.at("sinks"));
  std::vector<std::pair<int, int>> tokens;
  for (int t = 0; t < 40; ++t) tokens.emplace_back(0, t);
  for (const Variant& variant : variants()) {
    CpuBackend backend(variant.kernels, 2, variant.bf16);
    for (const int window : {0, 1, 7}) {
      const std::vector<double> expected = doubles(file.tensors.at(str("expect_window", window, "_f64")));
      Paged paged({.tokens = 40,
                   .heads = 1,
                   .kv_heads = 1,
                   .head_dim = 64,
                   .group = kKvFull,
                   .type = kKvF32,
                   .window = window,
                   .max_pages = 1,
                   .scale = 0},
                  {40});
      paged.k = floats(file.tensors.at("k"));
      paged.v = floats(file.tensors.at("v"));
      const Buffer cache = paged.cache(backend);
      for (size_t s = 0; s < sinks.size(); ++s) {
        const std::vector<float> out = run(backend, paged, tokens, q, cache, {sinks[s]});
        CHECK_CLOSE(str(variant.name, " window ", window, " sink ", sinks[s]), out.data(),
                    expected.data() + s * 40 * 64, 40 * 64, variant.bf16 == nullptr ? 5e-6 : 3 * variant.tolerance,
                    0);  // values reach 3
      }
    }
  }
}

TEST("attention: page and window edges, grouped heads, any head_dim, several sequences") {
  struct Shape {
    int heads, kv_heads, head_dim;
  };
  for (const Shape s : {Shape{8, 1, 64}, {4, 2, 64}, {10, 2, 64}, {3, 3, 64}, {6, 2, 48}, {3, 3, 18}, {10, 2, 16}}) {
    for (const int window : {0, 1, 7, 64, 128}) {
      Paged paged({.tokens = 0,
                   .heads = s.heads,
                   .kv_heads = s.kv_heads,
                   .head_dim = s.head_dim,
                   .group = kKvFull,
                   .type = kKvF32,
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
      for (const Variant& variant : variants()) {
        CpuBackend backend(variant.kernels, 2, variant.bf16);
        const Buffer cache = paged.cache(backend);
        const std::vector<float> out = run(backend, paged, tokens, q, cache, sinks);
        const std::string what =
            str(variant.name, " heads ", s.heads, "/", s.kv_heads, " head_dim ", s.head_dim, " window ", window);
        CHECK_CLOSE(what, out.data(), expected.data(), out.size(), variant.tolerance, 0);
        if (fastest.empty()) fastest = out;
        if (variant.bf16 == nullptr && fused(variant.kernels)) CHECK_BITS(what + " and the fastest", out, fastest);
      }
    }
  }
}

static void check_repeatable(int window, KvType type) {
  Paged paged({.tokens = 0,
               .heads = 8,
               .kv_heads = 2,
               .head_dim = 64,
               .group = kKvWindow,
               .type = type,
               .window = window,
               .max_pages = 0,
               .scale = 0},
              {2200, 70});
  if (type == kKvBF16) paged.round();
  std::vector<std::pair<int, int>> tokens;
  for (int position = 1000; position < 1060; ++position) tokens.emplace_back(0, position);  // over the edge of a chunk
  for (int position = 2150; position < 2200; ++position) tokens.emplace_back(0, position);
  for (int position = 0; position < 70; ++position) tokens.emplace_back(1, position);
  const size_t row = 8 * 64;
  const std::vector<float> q = random_floats(tokens.size() * row, 15, 2), sinks = random_floats(8, 16);
  const std::vector<double> expected = paged.expected(tokens, q, sinks);
  for (const Variant& variant : variants()) {
    std::vector<float> batch;
    for (const int threads : {1, 2, 3, 8}) {
      CpuBackend backend(variant.kernels, threads, variant.bf16);
      const Buffer cache = paged.cache(backend);
      const std::vector<float> out = run(backend, paged, tokens, q, cache, sinks);
      if (batch.empty()) batch = out;
      CHECK_BITS(str(variant.name, " window ", window, " threads ", threads), out, batch);
      std::vector<float> single;
      for (size_t t = 0; t < tokens.size(); ++t) {  // with 3 threads and more, two kv heads share their chunks
        const std::vector<float> one =
            run(backend, paged, {tokens[t]}, {q.begin() + t * row, q.begin() + (t + 1) * row}, cache, sinks);
        single.insert(single.end(), one.begin(), one.end());
      }
      CHECK_BITS(str(variant.name, " window ", window, " one by one, threads ", threads), single, batch);
    }
    CHECK_CLOSE(str(variant.name, " window ", window), batch.data(), expected.data(), batch.size(), variant.tolerance,
                0);
  }
}

TEST("attention: a token's result does not depend on its batch, on chunking or on threads") {
  for (const int window : {0, 7, 128}) {
    for (const KvType type : {kKvF32, kKvBF16}) check_repeatable(window, type);
  }
}

TEST("attention: bf16 gives the bits of f32 with rounded keys and values, in either group") {
  struct Shape {
    int heads, kv_heads, head_dim;
  };
  for (const Shape s : {Shape{8, 1, 64}, {6, 2, 48}, {3, 3, 18}, {10, 2, 16}}) {
    for (const int window : {0, 1, 128}) {
      const AttentionArgs shape = {.tokens = 0,
                                   .heads = s.heads,
                                   .kv_heads = s.kv_heads,
                                   .head_dim = s.head_dim,
                                   .group = kKvFull,
                                   .type = kKvF32,
                                   .window = window,
                                   .max_pages = 0,
                                   .scale = 0};
      const std::vector<int> lengths = {1, 63, 64, 65, 129, 1200};
      std::vector<std::pair<int, int>> tokens;
      for (int sequence = 0; sequence < int(lengths.size()); ++sequence) {
        tokens.emplace_back(sequence, lengths[sequence] - 1);
      }
      for (int position = 120; position < 140; ++position) tokens.emplace_back(5, position);
      const std::vector<float> q = random_floats(tokens.size() * s.heads * s.head_dim, 13, 2),
                               sinks = random_floats(s.heads, 14, 2);
      for (const cpu::Kernels* kernels : cpu::available_kernels()) {
        CpuBackend backend(*kernels, 2);
        Paged rounded(shape, lengths);
        rounded.round();
        const std::vector<float> expected = run(backend, rounded, tokens, q, rounded.cache(backend), sinks);
        for (const KvGroup group : {kKvFull, kKvWindow}) {
          AttentionArgs narrow = shape;
          narrow.group = group;
          narrow.type = kKvBF16;
          Paged paged(narrow, lengths);
          const std::vector<float> out = run(backend, paged, tokens, q, paged.cache(backend), sinks);
          CHECK_BITS(str(kernels->isa, " heads ", s.heads, "/", s.kv_heads, " head_dim ", s.head_dim, " window ",
                         window, " group ", int(group)),
                     out, expected);
        }
      }
    }
  }
}

TEST("attention: two groups of layers use two tables of one step") {
  AttentionArgs shape = {.tokens = 0,
                         .heads = 4,
                         .kv_heads = 2,
                         .head_dim = 64,
                         .group = kKvFull,
                         .type = kKvF32,
                         .window = 0,
                         .max_pages = 0,
                         .scale = 0};
  const std::vector<int> lengths = {300, 90};
  const std::vector<std::pair<int, int>> tokens = {{0, 299}, {1, 88}, {1, 89}};
  const std::vector<float> q = random_floats(tokens.size() * 4 * 64, 13, 2), sinks = random_floats(4, 14, 2);
  for (const Variant& variant : variants()) {
    CpuBackend backend(variant.kernels, 2, variant.bf16);
    for (const KvType type : {kKvF32, kKvBF16}) {
      shape.type = type;
      Paged full(shape, lengths), window(shape, lengths);
      window.args.group = kKvWindow;
      window.args.window = 70;
      std::reverse(window.block_table.begin(), window.block_table.end());
      full.other_table = window.block_table;
      window.other_table = full.block_table;
      const Buffer full_cache = full.cache(backend), window_cache = window.cache(backend);
      full.other_table.assign(full.other_table.size(), -1);
      const std::vector<float> full_alone = run(backend, full, tokens, q, full_cache, sinks);
      window.other_table.assign(window.other_table.size(), -1);
      const std::vector<float> window_alone = run(backend, window, tokens, q, window_cache, sinks);
      window.leave_pages(tokens);
      full.other_table = window.block_table;
      window.other_table = full.block_table;
      CHECK_BITS(str(variant.name, " full"), run(backend, full, tokens, q, full_cache, sinks), full_alone);
      CHECK_BITS(str(variant.name, " window"), run(backend, window, tokens, q, window_cache, sinks), window_alone);
      const std::vector<double> expected = window.expected(tokens, q, sinks);
      // bf16 keeps 8 bits of a value within 1; the error of keys within 1 changes a score of 64 products by less than
      // that.
      CHECK_CLOSE(variant.name, window_alone.data(), expected.data(), window_alone.size(),
                  type == kKvBF16 ? 0x1p-6 : variant.tolerance, 0);
    }
  }
}

TEST("attention: pages that the window has left are never touched") {
  for (const KvType type : {kKvF32, kKvBF16}) {
    Paged paged({.tokens = 0,
                 .heads = 8,
                 .kv_heads = 2,
                 .head_dim = 64,
                 .group = kKvWindow,
                 .type = type,
                 .window = 0,
                 .max_pages = 0,
                 .scale = 0},
                {1200});
    const std::vector<int32_t> all_pages = paged.block_table;
    const std::vector<float> q = random_floats(11 * 8 * 64, 15, 2), sinks = random_floats(8, 16);
    for (const Variant& variant : variants()) {
      CpuBackend backend(variant.kernels, 1, variant.bf16);
      paged.block_table = all_pages;
      const Buffer cache = paged.cache(backend);
      const auto check = [&](int window, int position, int length) {
        paged.args.window = window;
        paged.block_table = all_pages;
        std::vector<std::pair<int, int>> tokens;
        for (int p = position; p < std::min(position + length, 1200); ++p) tokens.emplace_back(0, p);
        const std::vector<float> queries(q.begin(), q.begin() + ptrdiff_t(tokens.size()) * 8 * 64);
        const std::vector<float> expected = run(backend, paged, tokens, queries, cache, sinks);
        paged.leave_pages(tokens);
        CHECK_EQ(std::count(paged.block_table.begin(), paged.block_table.end(), -1),
                 std::max(0, position - window + 1) / kPageTokens);
        const std::vector<float> out = run(backend, paged, tokens, queries, cache, sinks);
        CHECK_BITS(str(variant.name, " window ", window, " position ", position, " type ", int(type)), out, expected);
      };
      for (const int window : {1, 63, 64, 65, 128}) {
        for (const int position :
             {0, 62, 63, 64, 65, 126, 127, 128, 129, 191, 192, 193, 1023, 1024, 1151, 1152, 1199}) {
          check(window, position, 1);   // a decode
          check(window, position, 11);  // a chunk of a prompt
        }
      }
    }
  }
}

TEST("kv_write: bf16 is rounded to nearest, ties to even") {
  // Ties above an even and an odd number, neighbours of a tie, signs, subnormals, overflow, and NaN.
  const std::vector<std::pair<float, uint16_t>> cases = {
      {0.0f, 0x0000},
      {-0.0f, 0x8000},
      {1.0f, 0x3F80},
      {1 + 0x1p-8f, 0x3F80},
      {-1 - 0x1p-8f, 0xBF80},
      {1 + 0x3p-8f, 0x3F82},
      {1 + 0x1.0002p-8f, 0x3F81},
      {1 + 0x1.fffep-9f, 0x3F80},
      {0x1p-133f, 0x0001},
      {0x1p-134f, 0x0000},
      {0x1.8p-133f, 0x0002},
      {0x1.fffffep127f, 0x7F80},
      {INFINITY, 0x7F80},
      {-INFINITY, 0xFF80},
      {0x1.fep127f, 0x7F7F},
      {3.14159274f, 0x4049},
  };
  const int head_dim = 19, kv_heads = 2;  // no multiple of any vector's length
  std::vector<float> k(head_dim * kv_heads), v(k.size());
  for (size_t i = 0; i < k.size(); ++i) {
    k[i] = cases[i % cases.size()].first;
    v[i] = cases[(i + 5) % cases.size()].first;
  }
  k[3] = NAN;
  const std::vector<int32_t> positions = {64 + 7}, sequence = {0}, full = {0, 0}, window = {-1, 1};
  for (const cpu::Kernels* kernels : cpu::available_kernels()) {
    CpuBackend backend(*kernels, 1);
    Step step;
    step.num_tokens = step.num_sequences = 1;
    step.positions = positions;
    step.sequence = sequence;
    step.block_tables[kKvFull] = full;
    step.block_tables[kKvWindow] = window;
    step.max_pages = 2;
    const size_t page = size_t(2) * kv_heads * kPageTokens * head_dim;
    std::vector<uint16_t> cache(2 * page, 0xABCD);
    backend.kv_write({kv_heads, head_dim, kKvWindow, kKvBF16}, step, k.data(), v.data(), cache.data());
    size_t written = 0;
    for (const uint16_t element : cache) written += element != 0xABCD;
    CHECK_EQ(written, k.size() * 2);
    for (size_t h = 0; h < kv_heads; ++h) {
      const uint16_t* keys = cache.data() + page + (h * kPageTokens + 7) * head_dim;
      const uint16_t* values = keys + size_t(kv_heads) * kPageTokens * head_dim;
      for (size_t i = 0; i < head_dim; ++i) {
        const size_t at = h * head_dim + i;
        if (at == 3) {
          CHECK(std::isnan(bf16_to_f32(keys[i])));
        } else {
          CHECK_EQ(keys[i], cases[at % cases.size()].second);
        }
        CHECK_EQ(values[i], cases[(at + 5) % cases.size()].second);
      }
    }
  }
}

TEST("attention: scores far apart neither overflow nor vanish") {
  Paged paged({.tokens = 0,
               .heads = 2,
               .kv_heads = 1,
               .head_dim = 64,
               .group = kKvFull,
               .type = kKvF32,
               .window = 0,
               .max_pages = 0,
               .scale = 0},
              {150});
  const std::vector<std::pair<int, int>> tokens = {{0, 149}};
  const std::vector<float> q = random_floats(2 * 64, 17, 500);  // scores of hundreds
  for (const std::vector<float>& sinks : {std::vector<float>{-1e30f, -1e30f}, {0, 1000}}) {
    const std::vector<double> expected = paged.expected(tokens, q, sinks);
    for (const Variant& variant : variants()) {
      CpuBackend backend(variant.kernels, 1, variant.bf16);
      const std::vector<float> out = run(backend, paged, tokens, q, paged.cache(backend), sinks);
      // A score of s is off by s · 8 · 2^-24, and so is its probability. Tiles are off by 250 times their error for
      // queries within 2.
      CHECK_CLOSE(variant.name, out.data(), expected.data(), out.size(),
                  variant.bf16 == nullptr ? 1000 * 8 * 0x1p-24 : 250 * variant.tolerance, 0);
    }
  }
}

}  // namespace oss::test
