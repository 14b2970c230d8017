#include "native/base/error.h"
#include "native/loader/safetensors.h"
#include "test/kernels/metal/low_rank.h"

namespace oss::test {
namespace {

constexpr int kHalf = kHeadDim / 2;

// Tokens of several sequences, with all inputs of their step.
struct Tokens {
  std::vector<int32_t> positions, sequence;
  std::vector<int32_t> block_table;  // [sequences, max_pages]
  int max_pages = 0, num_pages = 0;
  std::vector<float> rope;  // [tokens, 2, 32]

  int size() const { return int(positions.size()); }
  int page(int t) const { return block_table[sequence[t] * max_pages + positions[t] / kPageTokens]; }
};

struct Layer {
  int hidden, heads, kv_heads;
  std::vector<float> w, bias;  // [(heads + 2 * kv_heads) * 64, hidden]: q, k, v

  int rows() const { return (heads + 2 * kv_heads) * kHeadDim; }
};

struct Result {
  std::vector<uint16_t> q;     // [tokens + 1, heads * 64]
  std::vector<uint8_t> cache;  // bytes of [page][k, v][kv_head][kPageTokens][64]
};

Result run_qkv(MetalDevice& device, const Layer& layer, KvType type, KvGroup group, const Tokens& tokens,
               const std::vector<float>& x, const StepAdapters* adapters = nullptr) {
  const size_t q_rows = size_t(layer.heads) * kHeadDim, kv_rows = size_t(layer.kv_heads) * kHeadDim,
               hidden = size_t(layer.hidden);
  // Each matrix alone, aligned to 8 bytes and not to more, and not followed by another.
  const auto matrix = [&](size_t first, size_t rows) {
    std::vector<float> shifted(4, NAN);
    shifted.insert(shifted.end(), layer.w.begin() + first * hidden, layer.w.begin() + (first + rows) * hidden);
    return to_bf16(shifted);
  };
  const auto bias = [&](size_t first, size_t rows) {
    return std::vector<float>(layer.bias.begin() + first, layer.bias.begin() + first + rows);
  };
  const MetalArray<uint16_t> q_w(device, matrix(0, q_rows)), k_w(device, matrix(q_rows, kv_rows)),
      v_w(device, matrix(q_rows + kv_rows, kv_rows)), x_there(device, to_bf16(x));
  const MetalArray<float> q_bias(device, bias(0, q_rows)), k_bias(device, bias(q_rows, kv_rows)),
      v_bias(device, bias(q_rows + kv_rows, kv_rows)), rope(device, tokens.rope);
  const MetalArray<int32_t> positions(device, tokens.positions), sequence(device, tokens.sequence),
      table(device, tokens.block_table);
  metal::StepArrays step;
  step.tokens = tokens.size();
  step.sequences = int(tokens.block_table.size()) / tokens.max_pages;
  step.max_pages = tokens.max_pages;
  step.positions = positions.data();
  step.sequence = sequence.data();
  step.block_tables[group] = table.data();
  step.rope = rope.data();
  const MetalArray<uint16_t> q(device, (tokens.size() + 1) * q_rows);
  const MetalArray<uint8_t> cache(
      device, size_t(tokens.num_pages) * 2 * layer.kv_heads * kPageTokens * kHeadDim * kv_element_bytes(type));
  const QkvArgs args = {tokens.size(), layer.hidden, layer.heads, layer.kv_heads, kHeadDim, group, type};
  const metal::QkvMatrices matrices = {q_w.data() + 4, k_w.data() + 4, v_w.data() + 4,
                                       q_bias.data(),  k_bias.data(),  v_bias.data()};
  if (adapters == nullptr) {
    metal::qkv(device.encoder, args, step, x_there.data(), matrices, q.data(), {cache.data(), cache.bytes()});
    return {q.read(), cache.read()};
  }
  const MetalStepAdapters on_device(device, *adapters, 3 * kMostLowRank, size_t(layer.rows()));
  metal::qkv_low_rank(device.encoder, args, step, on_device.step(), 1, x_there.data(), matrices, q.data(),
                      {cache.data(), cache.bytes()});
  return {q.read(), cache.read()};
}

// The index of dim 0 of a token's key (or value), in elements.
size_t cache_place(const Layer& layer, const Tokens& tokens, int t, bool value, int kv_head) {
  const size_t plane = (size_t(tokens.page(t)) * 2 + value) * layer.kv_heads + kv_head;
  return (plane * kPageTokens + tokens.positions[t] % kPageTokens) * kHeadDim;
}

// [tokens, rows]: q, k and v; q and k rotated
std::vector<double> reference(const Layer& layer, const Tokens& tokens, const std::vector<float>& x,
                              const StepAdapters* adapters) {
  std::vector<double> out;
  for (int t = 0; t < tokens.size(); ++t) {
    for (int row = 0; row < layer.rows(); ++row) {
      double sum = layer.bias[row];
      for (int c = 0; c < layer.hidden; ++c) {
        sum += double(x[size_t(t) * layer.hidden + c]) * layer.w[size_t(row) * layer.hidden + c];
      }
      out.push_back(sum);
    }
    if (adapters != nullptr && adapters->of_token[size_t(t)] >= 0) {
      const std::vector<Term>& terms = adapters->terms[size_t(adapters->of_token[size_t(t)])];
      double* of_token = out.data() + size_t(t) * layer.rows();
      for (const int matrix : {0, 1, 2}) {
        const int first = matrix == 0 ? 0 : layer.heads + (matrix - 1) * layer.kv_heads;
        terms[size_t(1 + matrix)].add(x.data() + size_t(t) * layer.hidden, of_token + first * kHeadDim);
      }
    }
    for (int head = 0; head < layer.heads + layer.kv_heads; ++head) {
      double* of_head = out.data() + size_t(t) * layer.rows() + head * kHeadDim;
      for (int i = 0; i < kHalf; ++i) {
        const double a = of_head[i], b = of_head[i + kHalf];
        const double c = tokens.rope[t * kHeadDim + i], s = tokens.rope[t * kHeadDim + kHalf + i];
        of_head[i] = a * c - b * s;
        of_head[i + kHalf] = b * c + a * s;
      }
    }
  }
  return out;
}

template <typename Element>
void check_elements(const std::string& what, const Layer& layer, const Tokens& tokens, const std::vector<float>& x,
                    const Result& actual, const StepAdapters* adapters = nullptr) {
  const std::vector<double> expected = reference(layer, tokens, x, adapters);
  // Of thousands of sums, the worst can have twice the usual error, and rotation doubles it at most.
  const double tolerance = 4 * sum_tolerance(layer.hidden) * largest(expected);
  std::vector<Element> cache(actual.cache.size() / sizeof(Element));
  std::memcpy(cache.data(), actual.cache.data(), actual.cache.size());
  const size_t q_size = size_t(tokens.size()) * layer.heads * kHeadDim;
  for (int t = 0; t < tokens.size(); ++t) {
    for (int row = 0; row < layer.rows(); ++row) {
      const double wanted = expected[size_t(t) * layer.rows() + row];
      const int head = row / kHeadDim - layer.heads;  // of k, then of v
      bool good;
      if (head < 0) {
        good = is_rounded(actual.q[size_t(t) * layer.heads * kHeadDim + row], wanted, tolerance);
      } else {
        Element& element =
            cache[cache_place(layer, tokens, t, head >= layer.kv_heads, head % layer.kv_heads) + row % kHeadDim];
        good = is_rounded(element, wanted, tolerance);
        std::memset(&element, 0xCD, sizeof(Element));
      }
      if (!good) return fail(__FILE__, __LINE__, str(what, ": token ", t, ", row ", row, " is not ", wanted));
    }
  }
  for (size_t i = q_size; i < actual.q.size(); ++i) {
    if (!is_poison(actual.q[i])) return fail(__FILE__, __LINE__, str(what, ": wrote past the tokens of q"));
  }
  for (size_t i = 0; i < cache.size(); ++i) {
    if (!is_poison(cache[i])) return fail(__FILE__, __LINE__, str(what, ": wrote elsewhere in the cache, at ", i));
  }
}

void check_qkv(MetalDevice& device, const Layer& layer, KvType type, KvGroup group, const Tokens& tokens) {
  const std::string what = str(device.name, ": ", tokens.size(), " tokens, hidden ", layer.hidden, ", heads ",
                               layer.heads, type == kKvFP8 ? ", e4m3" : ", bf16");
  const std::vector<float> x = exact_values(size_t(tokens.size()) * layer.hidden, 3);
  const Result actual = run_qkv(device, layer, type, group, tokens, x);
  if (type == kKvFP8)
    check_elements<uint8_t>(what, layer, tokens, x, actual);
  else
    check_elements<uint16_t>(what, layer, tokens, x, actual);
}

Layer random_layer(int hidden, int heads, int kv_heads) {
  Layer layer = {hidden, heads, kv_heads, {}, {}};
  layer.w = exact_values(size_t(layer.rows()) * hidden, 1, 0.25f);
  layer.bias = exact_values(layer.rows(), 2);
  return layer;
}

// Three sequences around the borders of pages. Their tokens alternate; their pages are in no order.
Tokens random_tokens(int count) {
  Tokens tokens;
  tokens.max_pages = 5;
  tokens.num_pages = 13;
  const int32_t first[] = {0, 60, 127};
  tokens.block_table = {7, 2, 9, -1, -1, 12, 0, 4, -1, -1, -1, 5, 11, 1, -1};
  for (int t = 0; t < count; ++t) {
    const int sequence = t % 3;
    tokens.sequence.push_back(sequence);
    tokens.positions.push_back(first[sequence] + t / 3);
    for (int i = 0; i < kHeadDim; ++i) {
      const double angle = tokens.positions.back() * std::pow(150000.0, -(i % kHalf) / 32.0);
      tokens.rope.push_back(float(i < kHalf ? std::cos(angle) : std::sin(angle)));
    }
  }
  return tokens;
}

}  // namespace

TEST("metal qkv: heads rotated, keys and values in their pages, in bf16 and in e4m3") {
  for_each_metal_device([](MetalDevice& device) {
    const Layer layer = random_layer(96, 3, 2);
    for (const int count : {0, 1, 2, 4, 6, 8, 9, 16, 21, 33}) {
      const Tokens tokens = random_tokens(count);
      check_qkv(device, layer, kKvBF16, kKvWindow, tokens);
      check_qkv(device, layer, kKvFP8, kKvFull, tokens);
    }
  });
}

TEST("metal qkv: the model's columns, and as many heads") {
  for_each_metal_device([](MetalDevice& device) {
    const Layer wide = random_layer(2880, 2, 1), tall = random_layer(32, 64, 8);
    for (const Layer* layer : {&wide, &tall}) {
      check_qkv(device, *layer, kKvBF16, kKvFull, random_tokens(1));
      check_qkv(device, *layer, kKvBF16, kKvWindow, random_tokens(9));
    }
  });
}

TEST("metal qkv: a token's bits depend on no other token, among few and among many") {
  for_each_metal_device([](MetalDevice& device) {
    const Layer layer = random_layer(544, 2, 1);
    const int q_width = layer.heads * kHeadDim;
    for (const auto& [most, counts] : {std::pair(8, std::vector{1, 2, 3, 5}), {36, std::vector{9, 16, 19}}}) {
      const Tokens all = random_tokens(most);
      const std::vector<float> x = exact_values(size_t(most) * layer.hidden, 3);
      const Result expected = run_qkv(device, layer, kKvBF16, kKvFull, all, x);
      for (const int count : counts) {
        const int first = (most - count) / 2;
        Tokens part = all;
        const auto cut = [&](auto& values, int width) {
          using Values = std::remove_reference_t<decltype(values)>;
          values = Values(values.begin() + first * width, values.begin() + (first + count) * width);
        };
        cut(part.positions, 1), cut(part.sequence, 1), cut(part.rope, kHeadDim);
        std::vector<float> part_x = x;
        cut(part_x, layer.hidden);
        const Result actual = run_qkv(device, layer, kKvBF16, kKvFull, part, part_x);
        const std::string what = str(device.name, ": ", count, " of ", most);
        if (std::memcmp(actual.q.data(), expected.q.data() + first * q_width, size_t(count) * q_width * 2) != 0)
          fail(__FILE__, __LINE__, str(what, ": q differs"));
        for (int t = 0; t < count; ++t) {
          for (const bool value : {false, true}) {
            const size_t at = cache_place(layer, part, t, value, 0) * 2;
            if (std::memcmp(&actual.cache[at], &expected.cache[at], kHeadDim * 2) != 0)
              fail(__FILE__, __LINE__, str(what, value ? ": v of token " : ": k of token ", t, " differs"));
          }
        }
      }
    }
  });
}

TEST("metal qkv: golden rotations up to position 131071") {
  const SafetensorsFile file = golden("rope");
  const std::vector<double> x = doubles(file.tensors.at("x")), cosines = doubles(file.tensors.at("cos_f64")),
                            sines = doubles(file.tensors.at("sin_f64")),
                            rotated = doubles(file.tensors.at("rotated_f64"));
  const int all = int(file.tensors.at("x").shape[0]), heads = 2, width = heads * kHeadDim;
  // Each value is a sum of three bf16. Three identity matrices add them up to all 24 bits.
  const int hidden = 3 * width;
  Layer layer = {hidden, heads, 1, {}, {}};
  layer.w.resize(size_t(layer.rows()) * hidden);
  layer.bias.resize(layer.rows());
  for (int row = 0; row < width; ++row) {
    for (int third = 0; third < 3; ++third) layer.w[size_t(row) * hidden + third * width + row] = 1;
  }
  for (const int count : {1, 8, 9, all}) {  // the last ones: of the largest positions
    std::vector<float> thirds;
    Tokens tokens;
    tokens.max_pages = tokens.num_pages = 1;
    tokens.block_table = {0};
    std::vector<double> expected;
    for (int i = 0; i < count; ++i) {
      const size_t from = size_t(all - count + i);
      std::vector<float> rest(x.begin() + from * width, x.begin() + (from + 1) * width);
      for (int third = 0; third < 3; ++third) {
        for (float& value : rest) {
          thirds.push_back(bf16_to_f32(f32_to_bf16(value)));
          value -= thirds.back();
        }
      }
      tokens.sequence.push_back(0);
      tokens.positions.push_back(i);  // another test covers the cache; angles come from the table
      for (int d = 0; d < kHalf; ++d) tokens.rope.push_back(float(cosines[from * kHalf + d]));
      for (int d = 0; d < kHalf; ++d) tokens.rope.push_back(float(sines[from * kHalf + d]));
      expected.insert(expected.end(), rotated.begin() + from * width, rotated.begin() + (from + 1) * width);
    }
    // Before rounding: table, product and sum each add half a unit of float32.
    const double tolerance = 4 * 0x1p-24 * largest(expected);
    for_each_metal_device([&](MetalDevice& device) {
      const Result actual = run_qkv(device, layer, kKvBF16, kKvFull, tokens, thirds);
      for (size_t i = 0; i < expected.size(); ++i) {
        if (!is_rounded(actual.q[i], expected[i], tolerance))
          return fail(__FILE__, __LINE__, str(device.name, ": element ", i, " is not ", expected[i]));
      }
    });
  }
}

TEST("metal qkv_low_rank: terms of q, k and v before the rotation; tokens without one keep their bits") {
  for_each_metal_device([](MetalDevice& device) {
    const Layer layer = random_layer(96, 3, 2);
    const int q_size = layer.heads * kHeadDim, kv_size = layer.kv_heads * kHeadDim;
    StepAdapters adapters = {{{Term(), Term(96, q_size, 5, 41), Term(96, kv_size, 3, 43), Term(96, kv_size, 8, 45)},
                              {Term(8, 8, 1, 40), Term(), Term(96, kv_size, 16, 47), Term()}},
                             {}};
    for (const int count : {1, 2, 4, 6, 12, 21, 33}) {
      const Tokens tokens = random_tokens(count);
      const std::vector<float> x = exact_values(size_t(count) * layer.hidden, 3);
      adapters.of_token.clear();
      for (int t = 0; t < count; ++t) adapters.of_token.push_back(t % 4 == 3 ? -1 : t % 4 == 2 ? 1 : 0);
      for (const KvType type : {kKvBF16, kKvFP8}) {
        const std::string what = str(device.name, ": ", count, " tokens", type == kKvFP8 ? ", e4m3" : ", bf16");
        const Result actual = run_qkv(device, layer, type, kKvFull, tokens, x, &adapters);
        if (type == kKvFP8)
          check_elements<uint8_t>(what, layer, tokens, x, actual, &adapters);
        else
          check_elements<uint16_t>(what, layer, tokens, x, actual, &adapters);
        const Result plain = run_qkv(device, layer, type, kKvFull, tokens, x);
        for (int t = 0; t < count; ++t) {
          const size_t width = kHeadDim * size_t(kv_element_bytes(type));
          const auto same_q = [&](int head) {
            const size_t at = size_t(t) * q_size + size_t(head) * kHeadDim;
            return std::memcmp(&actual.q[at], &plain.q[at], kHeadDim * 2) == 0;
          };
          const auto same_in_cache = [&](bool value) {
            const size_t at = cache_place(layer, tokens, t, value, 1) * size_t(kv_element_bytes(type));
            return std::memcmp(&actual.cache[at], &plain.cache[at], width) == 0;
          };
          const int adapter = adapters.of_token[size_t(t)];
          for (int head = 0; head < layer.heads; ++head) CHECK_EQ(same_q(head), adapter != 0);
          CHECK_EQ(same_in_cache(false), adapter < 0);
          CHECK_EQ(same_in_cache(true), adapter != 0);
        }
      }
    }
  });
}

TEST("metal qkv_low_rank: a token's bits depend on no other token and its adapter, among few and among many") {
  for_each_metal_device([](MetalDevice& device) {
    const Layer layer = random_layer(544, 2, 1);
    const int hidden = layer.hidden, width = layer.heads * kHeadDim;
    std::vector<std::vector<Term>> terms(2);
    for (uint32_t a : {0u, 1u}) {
      terms[a] = {Term(), Term(hidden, width, 3, 60 + 8 * a), Term(hidden, kHeadDim, 4, 62 + 8 * a),
                  Term(hidden, kHeadDim, 9, 64 + 8 * a)};
    }
    for (const auto& [most, least] : {std::pair(6, 1), {36, 19}}) {
      StepAdapters adapters = {terms, {}};
      for (int t = 0; t < most; ++t) adapters.of_token.push_back(t % 3 - 1);
      const Tokens all = random_tokens(most);
      const std::vector<float> x = exact_values(size_t(most) * hidden, 3);
      const Result expected = run_qkv(device, layer, kKvBF16, kKvFull, all, x, &adapters);
      for (int first = 0; first + least <= most; first += 5) {
        Tokens part = all;
        const auto cut = [&](auto& values, int of_token) {
          using Values = std::remove_reference_t<decltype(values)>;
          values = Values(values.begin() + first * of_token, values.begin() + (first + least) * of_token);
        };
        std::vector<float> part_x = x;
        StepAdapters own = adapters;
        cut(part.positions, 1), cut(part.sequence, 1), cut(part.rope, kHeadDim), cut(part_x, hidden);
        cut(own.of_token, 1);
        const Result actual = run_qkv(device, layer, kKvBF16, kKvFull, part, part_x, &own);
        CHECK(std::memcmp(actual.q.data(), expected.q.data() + first * width, size_t(least) * width * 2) == 0);
        for (int t = 0; t < least; ++t) {
          for (const bool value : {false, true}) {
            const size_t at = cache_place(layer, part, t, value, 0) * 2;
            CHECK(std::memcmp(&actual.cache[at], &expected.cache[at], kHeadDim * 2) == 0);
          }
        }
      }
    }
  });
}

TEST("metal qkv_low_rank: no barrier can be left out") {
  const Layer layer = random_layer(32, 2, 1);
  const int width = layer.heads * kHeadDim;
  const StepAdapters adapters = {
      {{Term(), Term(32, width, 3, 60), Term(32, kHeadDim, 4, 62), Term(32, kHeadDim, 9, 64)}}, {0, -1, 0}};
  const std::vector<float> x = exact_values(size_t(3) * layer.hidden, 3);
  for_each_metal_device([&](MetalDevice& device) {
    for (const int missing : {1, 2}) {
      if (!drop_metal_barrier(missing)) return;
      CHECK_THROWS(Code::kDevice, "a barrier is missing",
                   run_qkv(device, layer, kKvBF16, kKvFull, random_tokens(3), x, &adapters));
    }
    const int64_t before = device.encoder.barriers();
    run_qkv(device, layer, kKvBF16, kKvFull, random_tokens(3), x, &adapters);
    CHECK_EQ(device.encoder.barriers() - before, int64_t(2));
  });
}

}  // namespace oss::test
