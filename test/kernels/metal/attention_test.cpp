#include <algorithm>
#include <random>

#include "kernels/metal/attention.h"
#include "test/kernels/metal/support.h"

namespace oss::test {
namespace {

// Uniform in [-scale, scale], the same on every machine, and exactly representable in the cache's type.
std::vector<double> random_values(size_t n, uint32_t seed, float scale, KvType type = kKvBF16) {
  std::mt19937 engine(seed);
  std::vector<double> values;
  for (size_t i = 0; i < n; ++i) {
    const float value = (float(engine() >> 8) / float(1 << 23) - 1) * scale;
    values.push_back(type == kKvFP8 ? e4m3_to_f32(f32_to_e4m3(value)) : bf16_to_f32(f32_to_bf16(value)));
  }
  return values;
}

struct Token {
  int sequence, position;
};

int first_visible(int position, int window) { return window > 0 ? std::max(0, position - window + 1) : 0; }

// Tokens of sequences with scrambled pages in a cache full of NaN. Only keys and values that some token of a sequence
// sees are written. Only pages with such keys are in the block table. The first `shared` pages of sequence 1 are those
// of sequence 0.
struct Scene {
  AttentionArgs args{};
  std::vector<Token> tokens;
  int shared = 0;
  std::vector<double> q, sinks;           // [tokens, heads, 64], [heads]
  std::vector<std::vector<double>> k, v;  // of each sequence [keys, kv_heads, 64]

  struct Shape {
    int heads, kv_heads;
    int window = 0;
    KvType type = kKvBF16;
    KvGroup group = kKvFull;
  };
  Scene(Shape shape, std::vector<Token> of, int shared_pages = 0) : tokens(std::move(of)), shared(shared_pages) {
    int longest = 0;
    for (const Token& token : tokens) longest = std::max(longest, token.position + 1);
    args = {.tokens = int(tokens.size()),
            .heads = shape.heads,
            .kv_heads = shape.kv_heads,
            .head_dim = kHeadDim,
            .group = shape.group,
            .type = shape.type,
            .window = shape.window,
            .max_pages = (longest + kPageTokens - 1) / kPageTokens,
            .scale = 0.125f};
    q = random_values(tokens.size() * shape.heads * kHeadDim, 1, 4);
    sinks = random_values(shape.heads, 2, 4);
    for (int s = 0; s < num_sequences(); ++s) {
      const size_t row = size_t(shape.kv_heads) * kHeadDim, size = range(s).second * row;
      k.push_back(random_values(size, 3 + 2 * s, 2, shape.type));
      v.push_back(random_values(size, 4 + 2 * s, 2, shape.type));
      if (s != 1) continue;
      std::copy_n(k[0].begin(), shared * kPageTokens * row, k[1].begin());
      std::copy_n(v[0].begin(), shared * kPageTokens * row, v[1].begin());
    }
  }

  int num_sequences() const {
    int most = 0;
    for (const Token& token : tokens) most = std::max(most, token.sequence + 1);
    return most;
  }
  std::pair<int, int> range(int sequence) const {  // of the keys that its tokens see
    int begin = 1 << 30, end = 0;
    for (const Token& token : tokens) {
      if (token.sequence != sequence) continue;
      begin = std::min(begin, first_visible(token.position, args.window));
      end = std::max(end, token.position + 1);
    }
    return {begin, end};
  }

  std::vector<int32_t> block_table() const {
    std::vector<int32_t> numbers(size_t(num_sequences()) * args.max_pages), table(numbers.size(), -1);
    for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = int32_t(i);
    std::shuffle(numbers.begin(), numbers.end(), std::mt19937(5));
    for (int s = 0; s < num_sequences(); ++s) {
      for (int page = range(s).first / kPageTokens; page * kPageTokens < range(s).second; ++page) {
        table[s * args.max_pages + page] = numbers[(s == 1 && page < shared ? 0 : s) * args.max_pages + page];
      }
    }
    return table;
  }
  std::vector<uint8_t> cache() const {
    const std::vector<int32_t> table = block_table();
    const size_t plane = size_t(kPageTokens) * kHeadDim, element = kv_element_bytes(args.type);
    std::vector<uint8_t> bytes(table.size() * 2 * args.kv_heads * plane * element, 0xFF);  // NaN in either type
    for (int s = 0; s < num_sequences(); ++s) {
      for (int key = range(s).first; key < range(s).second; ++key) {
        const size_t page = table[s * args.max_pages + key / kPageTokens];
        for (int i = 0; i < args.kv_heads * kHeadDim; ++i) {
          for (const bool value : {false, true}) {
            const float x = float((value ? v : k)[s][size_t(key) * args.kv_heads * kHeadDim + i]);
            const size_t at = ((page * 2 + value) * args.kv_heads + i / kHeadDim) * plane +
                              size_t(key % kPageTokens) * kHeadDim + i % kHeadDim;
            const uint16_t wide = f32_to_bf16(x);
            const uint8_t narrow = f32_to_e4m3(x);
            std::memcpy(bytes.data() + at * element, element == 2 ? static_cast<const void*>(&wide) : &narrow, element);
          }
        }
      }
    }
    return bytes;
  }
};

// The result in double, and how far bf16 may be from it:
//   - each p is rounded, by 2^-8 of itself at most, in numerator and denominator alike: out moves by the weighted
//     distance of that value from out. Independent errors add like squares; 3 · 2^-8 is five deviations of one.
//   - out is rounded: 2^-8 of itself.
//   - `raw` inputs are rounded too: v, and by q and k the scores.
// Errors of float32 sums are a hundredth of these.
struct Expected {
  std::vector<double> out, bound;
};
Expected expected(const Scene& scene, bool raw = false) {
  const AttentionArgs& args = scene.args;
  Expected result;
  for (size_t t = 0; t < scene.tokens.size(); ++t) {
    const auto [s, position] = scene.tokens[t];
    const int first = first_visible(position, args.window);
    for (int h = 0; h < args.heads; ++h) {
      const double* q = scene.q.data() + (t * args.heads + h) * kHeadDim;
      const auto row = [&, s = s](const std::vector<std::vector<double>>& of, int key) {
        return of[s].data() + (size_t(key) * args.kv_heads + h / (args.heads / args.kv_heads)) * kHeadDim;
      };
      std::vector<double> p, error2;
      double best = scene.sinks[h];
      for (int key = first; key <= position; ++key) {
        double dot = 0, squares = 0;
        for (int d = 0; d < kHeadDim; ++d) {
          const double product = q[d] * row(scene.k, key)[d];
          dot += product;
          squares += product * product;
        }
        p.push_back(dot * args.scale);
        error2.push_back(1 + (raw ? 2 * squares * args.scale * args.scale : 0));
        best = std::max(best, p.back());
      }
      double total = std::exp(scene.sinks[h] - best);
      for (double& score : p) total += score = std::exp(score - best);
      for (int d = 0; d < kHeadDim; ++d) {
        double out = 0, square = 0;
        for (int key = first; key <= position; ++key) out += p[key - first] / total * row(scene.v, key)[d];
        for (int key = first; key <= position; ++key) {
          const double w = p[key - first] / total, value = row(scene.v, key)[d];
          square += w * w * ((value - out) * (value - out) * error2[key - first] + (raw ? value * value : 0));
        }
        result.out.push_back(out);
        result.bound.push_back(0x1p-8 * 1.01 * (3 * std::sqrt(square) + std::fabs(out)) + 1e-9);
      }
    }
  }
  return result;
}

// Errors relative to the permitted errors.
void check_within(const std::string& what, const std::vector<uint16_t>& actual, const Expected& expected) {
  CHECK_EQ(actual.size(), expected.out.size());
  std::vector<float> parts;
  for (size_t i = 0; i < actual.size(); ++i) {
    parts.push_back(float((bf16_to_f32(actual[i]) - expected.out[i]) / expected.bound[i]));
  }
  const std::vector<double> none(parts.size());
  CHECK_CLOSE(what + ", errors as parts of the bound", parts.data(), none.data(), parts.size(), 1, 0);
}

// A scene on a device, with room for more tokens than it has; that room must stay unchanged.
class Run {
 public:
  static constexpr int kSpare = 3;

  Run(MetalDevice& device, const Scene& scene)
      : device_(device),
        scene_(scene),
        capacity_(scene.tokens.size() + kSpare),
        row_(size_t(scene.args.heads) * kHeadDim),
        table_(device, scene.block_table()),
        other_table_(device, std::vector<int32_t>(table_.size(), -1)),
        cache_(device, scene.cache()),
        sinks_(device, std::vector<float>(scene.sinks.begin(), scene.sinks.end())),
        positions_(device, capacity_),
        sequence_(device, capacity_),
        singles_(device, capacity_),
        tiles_(device, capacity_),
        q_(device, capacity_ * row_),
        scratch_(device, metal::attention_scratch_bytes(int(capacity_), scene.args.heads) / 4) {
    std::vector<int> all;
    for (size_t t = 0; t < scene.tokens.size(); ++t) all.push_back(int(t));
    choose(all);
  }

  // The step consists of these tokens of the scene. All are singles, the last first, and all are in tiles. With
  // `apart`, tokens with neighbours are in tiles, and the others are singles.
  void choose(const std::vector<int>& tokens, bool apart = false) {
    std::vector<int32_t> positions, sequence, singles;
    std::vector<uint16_t> q;
    std::vector<AttentionTile> tiles;
    most_keys_ = 0;
    for (const int t : tokens) {
      const Token token = scene_.tokens[t];
      const bool continues = !tiles.empty() && tiles.back().tokens < kAttentionTile &&
                             sequence.back() == token.sequence && positions.back() + 1 == token.position;
      if (continues) {
        ++tiles.back().tokens;
      } else {
        tiles.push_back({int32_t(positions.size()), 1});
      }
      singles.insert(singles.begin(), int32_t(positions.size()));
      positions.push_back(token.position);
      sequence.push_back(token.sequence);
      for (size_t i = 0; i < row_; ++i) q.push_back(f32_to_bf16(float(scene_.q[t * row_ + i])));
      most_keys_ = std::max(most_keys_, token.position + 1);
    }
    if (apart) {
      singles.clear();
      for (const AttentionTile& tile : tiles) {
        if (tile.tokens == 1) singles.push_back(tile.first);
      }
      std::erase_if(tiles, [](const AttentionTile& tile) { return tile.tokens == 1; });
    }
    num_tokens_ = tokens.size();
    num_tiles_ = tiles.size();
    num_singles_ = singles.size();
    write(positions_, positions);
    write(sequence_, sequence);
    write(tiles_, tiles);
    write(q_, q);
    write(singles_, singles);
  }

  // more_keys: as if another token of the step saw so many more.
  std::vector<uint16_t> singles(int more_keys = 0) { return launch(num_singles_, 0, more_keys); }
  std::vector<uint16_t> tiles() { return launch(0, num_tiles_, 0); }
  std::vector<uint16_t> both() { return launch(num_singles_, num_tiles_, 0); }
  int splits() const { return most_splits(most_keys_, scene_.args.window); }

 private:
  template <typename T>
  static void write(const MetalArray<T>& to, const std::vector<T>& values) {
    std::copy(values.begin(), values.end(), to.data());
  }

  std::vector<uint16_t> launch(size_t singles, size_t tiles, int more_keys) {
    const MetalArray<uint16_t> out(device_, capacity_ * row_);
    std::memset(scratch_.data(), 0xCD, scratch_.bytes());
    AttentionArgs args = scene_.args;
    args.tokens = int(num_tokens_);
    metal::StepArrays step;
    step.tokens = int(num_tokens_);
    step.sequences = scene_.num_sequences();
    step.max_pages = scene_.args.max_pages;
    step.positions = positions_.data();
    step.sequence = sequence_.data();
    step.block_tables[scene_.args.group] = table_.data();
    step.block_tables[scene_.args.group == kKvFull ? kKvWindow : kKvFull] = other_table_.data();
    step.tiles = int(tiles);
    step.singles = int(singles);
    step.tile = tiles_.data();
    step.single = singles_.data();
    step.most_keys = most_keys_ + more_keys;
    metal::attention(device_.encoder, args, step, q_.data(), {cache_.data(), cache_.bytes()}, sinks_.data(),
                     scratch_.data(), out.data());
    std::vector<uint16_t> values = out.read();
    const auto end = values.begin() + ptrdiff_t(num_tokens_ * row_);
    CHECK(std::all_of(end, values.end(), [](uint16_t value) { return value == 0xCDCD; }));
    values.erase(end, values.end());
    return values;
  }

  MetalDevice& device_;
  const Scene& scene_;
  size_t capacity_, row_, num_tokens_ = 0, num_tiles_ = 0, num_singles_ = 0;
  int most_keys_ = 0;
  MetalArray<int32_t> table_, other_table_;
  MetalArray<uint8_t> cache_;
  MetalArray<float> sinks_;
  MetalArray<int32_t> positions_, sequence_, singles_;
  MetalArray<AttentionTile> tiles_;
  MetalArray<uint16_t> q_;
  MetalArray<float> scratch_;
};

// The kernels of singles and of tiles against the same reference with the same bound, and so also against each other.
void check_both(MetalDevice& device, const std::string& what, const Scene& scene, const Expected& expected) {
  Run run(device, scene);
  check_within(str(device.name, " singles ", what), run.singles(), expected);
  check_within(str(device.name, " tiles ", what), run.tiles(), expected);
}

std::string name_of(const Scene& scene) {
  return str("heads ", scene.args.heads, "/", scene.args.kv_heads, " window ", scene.args.window,
             scene.args.type == kKvFP8 ? " fp8" : "");
}

// One token in each of some sequences.
std::vector<Token> at_positions(const std::vector<int>& positions) {
  std::vector<Token> tokens;
  for (const int position : positions) tokens.push_back({int(tokens.size()), position});
  return tokens;
}
void add_prefill(std::vector<Token>& tokens, int from, int to) {
  const int sequence = tokens.empty() ? 0 : tokens.back().sequence + 1;
  for (int position = from; position <= to; ++position) tokens.push_back({sequence, position});
}

TEST("metal attention: golden sinks and windows") {
  const SafetensorsFile file = golden("attention");
  const auto values = [&](const std::string& name) { return doubles(file.tensors.at(name)); };
  const std::vector<double> q = values("q"), sinks = values("sinks");
  const int heads = int(sinks.size());  // the same queries once per sink
  for_each_metal_device([&](MetalDevice& device) {
    for (const int window : {0, 1, 7}) {
      std::vector<Token> tokens;
      add_prefill(tokens, 0, 39);
      Scene scene({.heads = heads, .kv_heads = 1, .window = window}, tokens);
      scene.k = {values("k")};
      scene.v = {values("v")};
      scene.sinks = sinks;
      const std::vector<double> golden = values(str("expect_window", window, "_f64"));  // [sinks, 40, 64]
      for (int t = 0; t < 40; ++t) {
        for (int h = 0; h < heads; ++h) {
          std::copy_n(&q[t * kHeadDim], kHeadDim, &scene.q[(t * heads + h) * kHeadDim]);
        }
      }
      Expected want = expected(scene, true);
      double worst = 0;  // error of this file's reference
      for (int t = 0; t < 40; ++t) {
        for (int i = 0; i < heads * kHeadDim; ++i) {
          double& ours = want.out[t * heads * kHeadDim + i];
          const double theirs = golden[(i / kHeadDim * 40 + t) * kHeadDim + i % kHeadDim];
          worst = std::max(worst, std::fabs(ours - theirs));
          ours = theirs;
        }
      }
      CHECK(worst < 1e-12);
      check_both(device, name_of(scene), scene, want);
    }
  });
}

TEST("metal attention: page and window edges, groups of 1 to 16 heads, several sequences") {
  std::vector<Token> tokens = at_positions({0, 62, 63, 64, 65, 66, 127, 128, 129, 130, 300});
  add_prefill(tokens, 0, 2);
  add_prefill(tokens, 60, 67);    // over a page's edge
  add_prefill(tokens, 118, 138);  // two tiles
  std::vector<Token> few = at_positions({65, 128});
  add_prefill(few, 120, 136);
  for_each_metal_device([&](MetalDevice& device) {
    for (const int window : {0, 7, 32, 33, 128, 129}) {
      const Scene scene({.heads = 8, .kv_heads = 1, .window = window}, tokens);
      check_both(device, name_of(scene), scene, expected(scene));
    }
    for (const auto& [heads, kv_heads] : {std::pair(1, 1), {2, 2}, {4, 2}, {6, 2}, {4, 1}, {9, 1}, {24, 2}, {16, 1}}) {
      for (const int window : {0, 7}) {
        const Scene scene({.heads = heads, .kv_heads = kv_heads, .window = window}, few);
        check_both(device, name_of(scene), scene, expected(scene));
      }
    }
  });
}

TEST("metal attention: many keys in several splits") {
  std::vector<Token> tokens = at_positions({255, 256, 511, 512, 1535});
  add_prefill(tokens, 1495, 1505);
  const Scene scene({.heads = 4, .kv_heads = 1}, tokens);
  const Scene long_scene({.heads = 2, .kv_heads = 1}, at_positions({8191, 8300}));  // 32 splits; 5 pages in each
  CHECK_EQ(visible_pages(8300, 0).split_pages, 5);
  for_each_metal_device([&](MetalDevice& device) {
    check_both(device, name_of(scene), scene, expected(scene));
    check_both(device, "long " + name_of(long_scene), long_scene, expected(long_scene));
  });
}

TEST("metal attention: the result of a single does not depend on its step") {
  std::vector<Token> tokens = at_positions({0, 200, 256, 700});
  add_prefill(tokens, 510, 514);
  for_each_metal_device([&](MetalDevice& device) {
    for (const int window : {0, 128}) {
      const Scene scene({.heads = 4, .kv_heads = 2, .window = window}, tokens);
      Run run(device, scene);
      const std::vector<uint16_t> together = run.singles();
      CHECK_EQ(run.splits(), window == 0 ? 3 : 1);
      CHECK(run.singles() == together);
      CHECK(run.singles(2000) == together);
      const size_t row = 4 * kHeadDim;
      for (size_t t = 0; t < tokens.size(); ++t) {
        run.choose({int(t)});
        const std::vector<uint16_t> alone = run.singles();
        CHECK_EQ(alone.size(), row);
        CHECK(std::equal(alone.begin(), alone.end(), together.begin() + ptrdiff_t(t * row)));
      }
    }
  });
}

TEST("metal attention: decodes and prompts of one step, each by its own kernel") {
  std::vector<Token> tokens = at_positions({5, 300});
  add_prefill(tokens, 100, 119);
  tokens.push_back({3, 270});
  add_prefill(tokens, 0, 4);
  for_each_metal_device([&](MetalDevice& device) {
    const Scene scene({.heads = 4, .kv_heads = 2}, tokens);
    Run run(device, scene);
    std::vector<int> all;
    for (size_t t = 0; t < tokens.size(); ++t) all.push_back(int(t));
    run.choose(all, true);
    const std::vector<uint16_t> out = run.both();
    check_within(str(device.name, " ", name_of(scene)), out, expected(scene));
    CHECK(run.both() == out);
  });
}

TEST("metal attention: sequences that share pages, in either group") {
  std::vector<Token> tokens = {{0, 150}, {1, 170}, {2, 90}};
  for (int position = 129; position < 135; ++position) tokens.push_back({1, position});
  for_each_metal_device([&](MetalDevice& device) {
    for (const KvGroup group : {kKvFull, kKvWindow}) {
      const int window = group == kKvFull ? 0 : 100;
      const Scene scene({.heads = 8, .kv_heads = 1, .window = window, .group = group}, tokens, 2);
      CHECK_EQ(scene.block_table()[1], scene.block_table()[scene.args.max_pages + 1]);
      check_both(device, name_of(scene), scene, expected(scene));
    }
  });
}

TEST("metal attention: the window and the pages behind it") {
  std::vector<Token> tokens = at_positions({190, 191, 192, 255, 256, 319});
  add_prefill(tokens, 250, 262);
  for_each_metal_device([&](MetalDevice& device) {
    for (const int window : {1, 64, 65, 128}) {
      const Scene scene({.heads = 8, .kv_heads = 1, .window = window, .group = kKvWindow}, tokens);
      const std::vector<int32_t> table = scene.block_table();
      CHECK_EQ(table[3 * scene.args.max_pages], -1);
      check_both(device, name_of(scene), scene, expected(scene));
    }
  });
}

TEST("metal attention: sinks from none to all") {
  std::vector<Token> tokens = at_positions({0, 70, 300});
  add_prefill(tokens, 63, 66);
  for_each_metal_device([&](MetalDevice& device) {
    Scene scene({.heads = 8, .kv_heads = 1}, tokens);
    scene.sinks = {-1e30, 0, 20, -20, -INFINITY, 1, 1000, 5};
    check_both(device, name_of(scene), scene, expected(scene));

    // Scores of hundreds, so that softmax leaves one or two: float32 sums err by up to 64 · 2^-24 of them.
    for (double& value : scene.q) value *= 128;
    scene.sinks = {-1e30, 0, 20, 500, -1e30, 1, 1000, 5};
    Expected want = expected(scene);
    for (double& bound : want.bound) bound += 500 * 64 * 0x1p-24;
    check_both(device, "large scores " + name_of(scene), scene, want);
  });
}

TEST("metal attention: without a sink, equal values are returned unchanged") {
  std::vector<Token> tokens = at_positions({100, 300});
  add_prefill(tokens, 120, 131);
  for_each_metal_device([&](MetalDevice& device) {
    Scene scene({.heads = 8, .kv_heads = 1}, tokens);
    for (std::vector<double>& values : scene.v) std::fill(values.begin(), values.end(), 1.0078125);
    std::fill(scene.sinks.begin(), scene.sinks.end(), -INFINITY);
    Run run(device, scene);
    for (const std::vector<uint16_t>& out : {run.singles(), run.tiles()}) {
      CHECK(std::all_of(out.begin(), out.end(), [](uint16_t value) { return value == 0x3F81; }));
    }
  });
}

TEST("metal attention: an fp8 cache is as exact as its values") {
  std::vector<Token> tokens = at_positions({0, 64, 127, 300});
  add_prefill(tokens, 125, 141);
  for_each_metal_device([&](MetalDevice& device) {
    for (const int window : {0, 128}) {
      const Scene scene({.heads = 8, .kv_heads = 1, .window = window, .type = kKvFP8}, tokens);
      check_both(device, name_of(scene), scene, expected(scene));
    }
    const Scene pairs({.heads = 4, .kv_heads = 2, .type = kKvFP8}, at_positions({70, 600}));
    check_both(device, name_of(pairs), pairs, expected(pairs));

    // Every number of the type, as the only value that a token sees.
    Scene every({.heads = 2, .kv_heads = 2, .type = kKvFP8}, at_positions({0, 0}));
    std::fill(every.sinks.begin(), every.sinks.end(), -1e30);
    std::vector<uint16_t> want;
    for (int s = 0; s < 2; ++s) {
      for (int i = 0; i < 2 * kHeadDim; ++i) {
        const int code = s * 128 + i;
        every.v[s][i] = (code & 127) == 127 ? 0 : e4m3_to_f32(uint8_t(code));
        want.push_back(f32_to_bf16(float(every.v[s][i])));
      }
    }
    Run run(device, every);
    const auto positive_zero = [](std::vector<uint16_t> values) {  // 0 + -0 = 0
      for (uint16_t& value : values) value = value == 0x8000 ? 0 : value;
      return values;
    };
    CHECK(positive_zero(run.singles()) == positive_zero(want));
    CHECK(positive_zero(run.tiles()) == positive_zero(want));
  });
}

TEST("metal attention: the shapes of the released models") {
  std::vector<Token> tokens = at_positions({40, 283});
  add_prefill(tokens, 125, 142);
  for_each_metal_device([&](MetalDevice& device) {
    for (const auto& [window, type] : {std::pair(0, kKvFP8), {128, kKvBF16}}) {
      const Scene scene({.heads = 64, .kv_heads = 8, .window = window, .type = type}, tokens);
      Run run(device, scene);
      std::vector<int> all;
      for (size_t t = 0; t < tokens.size(); ++t) all.push_back(int(t));
      run.choose(all, true);
      check_within(str(device.name, " ", name_of(scene)), run.both(), expected(scene));
    }
  });
}

TEST("metal attention: the splits of a grid suffice for every token of its step") {
  for (const int window : {0, 1, 2, 63, 64, 65, 66, 128, 129, 255, 256, 257, 258, 1000, 4096}) {
    int most = 0;
    for (int position = 0; position < 20000; ++position) {
      const VisiblePages visible = visible_pages(position, window);
      most = std::max(most, visible.splits);
      CHECK(most_splits(position + 1, window) >= most);
      CHECK(visible.splits <= kMaxSplits && visible.splits * visible.split_pages >= visible.count &&
            (visible.splits - 1) * visible.split_pages < visible.count);
    }
    CHECK_EQ(most_splits(20000, window), most);
  }
}

TEST("metal attention: only the merge of parts waits") {
  std::vector<Token> tokens = at_positions({300});
  add_prefill(tokens, 0, 1);
  for_each_metal_device([&](MetalDevice& device) {
    for (const int window : {0, 128}) {
      const Scene scene({.heads = 2, .kv_heads = 1, .window = window}, tokens);
      Run run(device, scene);
      run.choose({0, 1, 2}, true);
      const int64_t dispatches = device.encoder.dispatches(), barriers = device.encoder.barriers();
      check_within(str(device.name, " ", name_of(scene)), run.both(), expected(scene));
      CHECK_EQ(device.encoder.dispatches() - dispatches, window == 0 ? 3 : 2);
      CHECK_EQ(device.encoder.barriers() - barriers, 1);
      run.singles();
      CHECK_EQ(device.encoder.barriers() - barriers, window == 0 ? 2 : 1);
    }
  });
}

TEST("metal attention: shapes without a kernel are refused") {
  for_each_metal_device([&](MetalDevice& device) {
    const Scene scene({.heads = 8, .kv_heads = 1}, at_positions({3}));
    for (const int change : {0, 1, 2}) {
      AttentionArgs args = scene.args;
      if (change == 0) args.type = kKvF32;
      if (change == 1) args.head_dim = 32;
      if (change == 2) args.heads = 17;
      CHECK_THROWS(Code::kInternal, "no Metal kernel",
                   metal::attention(device.encoder, args, {}, nullptr, {}, nullptr, nullptr, nullptr));
    }
    CHECK_EQ(device.encoder.dispatches(), 0);
  });
}

TEST("metal attention: a step without tokens writes nothing") {
  for_each_metal_device([&](MetalDevice& device) {
    const Scene scene({.heads = 8, .kv_heads = 1}, at_positions({300, 5}));
    Run run(device, scene);
    run.choose({});
    CHECK(run.singles().empty());
    CHECK(run.singles(900).empty());
    CHECK(run.tiles().empty());
  });
}

}  // namespace
}  // namespace oss::test
