#include "test/kernels/gpu/attention_scene.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <random>

#include "test/kernels/support.h"

namespace oss::test::attention {
namespace {

// Exactly representable in the cache's type.
std::vector<double> random_values(size_t n, uint32_t seed, float scale, KvType type = kKvBF16) {
  std::vector<double> values;
  for (const float value : random_floats(n, seed, scale)) {
    values.push_back(type == kKvFP8 ? e4m3_to_f32(f32_to_e4m3(value)) : bf16_to_f32(f32_to_bf16(value)));
  }
  return values;
}

int first_visible(int position, int window) { return window > 0 ? std::max(0, position - window + 1) : 0; }

}  // namespace

std::vector<Token> at_positions(const std::vector<int>& positions) {
  std::vector<Token> tokens;
  for (const int position : positions) tokens.push_back({int(tokens.size()), position});
  return tokens;
}

void add_prefill(std::vector<Token>& tokens, int from, int to) {
  const int sequence = tokens.empty() ? 0 : tokens.back().sequence + 1;
  for (int position = from; position <= to; ++position) tokens.push_back({sequence, position});
}

Scene::Scene(Shape shape, std::vector<Token> of, int shared_pages) : tokens(std::move(of)), shared(shared_pages) {
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

std::string Scene::name() const {
  return str("heads ", args.heads, "/", args.kv_heads, " window ", args.window, args.type == kKvFP8 ? " fp8" : "");
}

int Scene::num_sequences() const {
  int most = 0;
  for (const Token& token : tokens) most = std::max(most, token.sequence + 1);
  return most;
}

std::vector<int> Scene::all() const {
  std::vector<int> numbers(tokens.size());
  std::iota(numbers.begin(), numbers.end(), 0);
  return numbers;
}

std::pair<int, int> Scene::range(int sequence) const {
  int begin = 1 << 30, end = 0;
  for (const Token& token : tokens) {
    if (token.sequence != sequence) continue;
    begin = std::min(begin, first_visible(token.position, args.window));
    end = std::max(end, token.position + 1);
  }
  return {begin, end};
}

std::vector<int32_t> Scene::block_table() const {
  std::vector<int32_t> numbers(size_t(num_sequences()) * args.max_pages), table(numbers.size(), -1);
  std::iota(numbers.begin(), numbers.end(), 0);
  std::shuffle(numbers.begin(), numbers.end(), std::mt19937(5));
  for (int s = 0; s < num_sequences(); ++s) {
    for (int page = range(s).first / kPageTokens; page * kPageTokens < range(s).second; ++page) {
      table[s * args.max_pages + page] = numbers[(s == 1 && page < shared ? 0 : s) * args.max_pages + page];
    }
  }
  return table;
}

std::vector<uint8_t> Scene::cache() const {
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

Expected expected(const Scene& scene, bool raw) {
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

void check_within(const std::string& what, const std::vector<uint16_t>& actual, const Expected& expected) {
  CHECK_EQ(actual.size(), expected.out.size());
  std::vector<float> parts;
  for (size_t i = 0; i < actual.size(); ++i) {
    parts.push_back(float((bf16_to_f32(actual[i]) - expected.out[i]) / expected.bound[i]));
  }
  const std::vector<double> none(parts.size());
  CHECK_CLOSE(what + ", errors as parts of the bound", parts.data(), none.data(), parts.size(), 1, 0);
}

}  // namespace oss::test::attention
