#include "native/loader/safetensors.h"
#include "test/kernels/cuda/low_rank.h"

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
  std::vector<float> w, bias;  // [(heads + 2 * kv_heads) * 64, hidden], as a checkpoint holds them

  int rows() const { return (heads + 2 * kv_heads) * kHeadDim; }
};

struct Result {
  std::vector<uint16_t> q;     // [capacity, heads * 64]
  std::vector<uint8_t> cache;  // bytes of [page][k, v][kv_head][kPageTokens][64]
};

// The form of x: rows as they are, or float32 rows that are normed by a separate launch or by norm_qkv.
enum class Rows { kGiven, kNormed, kNormedOnTheWay };

Result run_qkv(CudaDevice& device, const Layer& layer, KvType type, KvGroup group, int capacity, const Tokens& tokens,
               const std::vector<float>& x, Rows rows = Rows::kGiven, const StepAdapters* adapters = nullptr) {
  const auto [hidden, heads, kv_heads, w, bias] = layer;
  const DeviceArray<uint16_t> raw(device, to_bf16(w)), device_x(device, to_bf16(x));
  const DeviceArray<uint8_t> packed(device, cuda::packed_matrix_bytes(layer.rows(), hidden));
  const int rotated = (heads + kv_heads) * kHeadDim;
  device.check(device.module.pack_matrix({rotated, hidden, cuda::kRowsRope}, raw.data(), packed.data(), device.stream),
               "pack_matrix of q and k");
  device.check(
      device.module.pack_matrix({kv_heads * kHeadDim, hidden, cuda::kRowsPlain}, raw.data() + size_t(rotated) * hidden,
                                packed.data() + cuda::packed_matrix_bytes(rotated, hidden), device.stream),
      "pack_matrix of v");
  const DeviceCounts counts(device, tokens.size());
  const DeviceArray<int32_t> positions(device, tokens.positions), sequence(device, tokens.sequence),
      table(device, tokens.block_table);
  const DeviceArray<float> rope(device, tokens.rope), device_bias(device, bias);
  cuda::DeviceStep step{};
  step.counts = counts.data();
  step.positions = positions.data();
  step.sequence = sequence.data();
  step.block_tables[group] = table.data();
  step.rope = rope.data();
  step.max_pages = tokens.max_pages;
  const DeviceArray<uint16_t> q(device, size_t(capacity) * heads * kHeadDim);
  const DeviceArray<uint8_t> cache(
      device, size_t(tokens.num_pages) * 2 * kv_heads * kPageTokens * kHeadDim * kv_element_bytes(type));
  const QkvArgs args = {capacity, hidden, heads, kv_heads, kHeadDim, group, type};
  const float eps = 1e-5f;
  const DeviceArray<float> float_x(device, x), norm(device, exact_values(size_t(hidden), 99));
  if (rows == Rows::kNormed) {
    device.check(device.module.rms_norm({tokens.size(), hidden, eps}, &counts.data()->tokens, float_x.data(),
                                        norm.data(), device_x.data(), nullptr, device.stream),
                 "rms_norm");
  }
  if (rows == Rows::kNormedOnTheWay) {
    device.check(device.module.norm_qkv(args, eps, step, float_x.data(), norm.data(), packed.data(), device_bias.data(),
                                        q.data(), cache.data(), device.stream),
                 "norm_qkv");
  } else if (adapters != nullptr) {
    const DeviceAdapters on_device(device, *adapters, size_t(capacity) * 3);
    device.check(device.module.qkv_low_rank(args, step, on_device.step(), 1, device_x.data(), packed.data(),
                                            device_bias.data(), q.data(), cache.data(), device.stream),
                 "qkv_low_rank");
    device.synchronize();
  } else {
    device.check(device.module.qkv(args, step, device_x.data(), packed.data(), device_bias.data(), q.data(),
                                   cache.data(), device.stream),
                 "qkv");
  }
  return {q.read(), cache.read()};
}

// The index of dim 0 of a token's key (or value), in elements.
size_t cache_place(const Layer& layer, const Tokens& tokens, int t, bool value, int kv_head) {
  const size_t plane = (size_t(tokens.page(t)) * 2 + value) * layer.kv_heads + kv_head;
  return (plane * kPageTokens + tokens.positions[t] % kPageTokens) * kHeadDim;
}

// [tokens, rows]: q, k and v; q and k rotated
std::vector<double> reference(const Layer& layer, const Tokens& tokens, const std::vector<float>& x,
                              const StepAdapters* adapters = nullptr) {
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
void check_qkv(const std::string& what, const Layer& layer, const Tokens& tokens, const std::vector<float>& x,
               const Result& actual, const StepAdapters* adapters = nullptr) {
  const std::vector<double> expected = reference(layer, tokens, x, adapters);
  // Rotation doubles a sum's error at most; cos and sin are exact here.
  const double tolerance = 2 * matrix_tolerance(layer.hidden) * largest(expected);
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

TEST("cuda qkv: heads rotated, keys and values in their pages, in bf16 and in e4m3") {
  for_each_cuda_device([](CudaDevice& device) {
    const Layer layer = random_layer(96, 3, 2);
    for (const auto& [capacity, count] : {std::pair(1, 1), {8, 6}, {16, 16}, {32, 21}, {64, 33}, {300, 12}}) {
      const Tokens tokens = random_tokens(count);
      const std::vector<float> x = exact_values(size_t(count) * layer.hidden, 3);
      for (const KvType type : {kKvBF16, kKvFP8}) {
        const KvGroup group = type == kKvBF16 ? kKvWindow : kKvFull;
        const std::string what =
            str(device.name, ": ", count, " tokens of ", capacity, type == kKvFP8 ? ", e4m3" : ", bf16");
        const Result actual = run_qkv(device, layer, type, group, capacity, tokens, x);
        if (type == kKvFP8)
          check_qkv<uint8_t>(what, layer, tokens, x, actual);
        else
          check_qkv<uint16_t>(what, layer, tokens, x, actual);
      }
    }
  });
}

TEST("cuda qkv: a token's bits depend on no other token and on no capacity") {
  for_each_cuda_device([](CudaDevice& device) {
    const Layer layer = random_layer(160, 2, 1);
    const int most = 40, q_width = layer.heads * kHeadDim;
    const Tokens all = random_tokens(most);
    const std::vector<float> x = exact_values(size_t(most) * layer.hidden, 3);
    const Result expected = run_qkv(device, layer, kKvBF16, kKvFull, 300, all, x);
    for (const auto& [capacity, count] : {std::pair(1, 1), {8, 8}, {16, 9}, {32, 32}, {64, 40}, {300, 3}}) {
      const int first = (most - count) / 2;
      Tokens part = all;
      const auto cut = [&](auto& values, int width) {
        values.assign(values.begin() + first * width, values.begin() + (first + count) * width);
        return values;
      };
      cut(part.positions, 1), cut(part.sequence, 1), cut(part.rope, kHeadDim);
      std::vector<float> part_x = x;
      cut(part_x, layer.hidden);
      const Result actual = run_qkv(device, layer, kKvBF16, kKvFull, capacity, part, part_x);
      const std::string what = str(device.name, ": ", count, " of ", capacity);
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
  });
}

TEST("cuda qkv_low_rank: terms of q, k and v before the rotation; tokens without one keep their bits") {
  for_each_cuda_device([](CudaDevice& device) {
    const Layer layer = random_layer(96, 3, 2);
    const int q_size = layer.heads * kHeadDim, kv_size = layer.kv_heads * kHeadDim;
    StepAdapters adapters = {{{Term(), Term(96, q_size, 5, 41), Term(96, kv_size, 3, 43), Term(96, kv_size, 8, 45)},
                              {Term(8, 8, 1, 40), Term(), Term(96, kv_size, 16, 47), Term()}},
                             {}};
    for (const auto& [capacity, count] : {std::pair(1, 1), {8, 6}, {32, 21}, {64, 33}, {300, 12}}) {
      const Tokens tokens = random_tokens(count);
      const std::vector<float> x = exact_values(size_t(count) * layer.hidden, 3);
      adapters.of_token.clear();
      for (int t = 0; t < count; ++t) adapters.of_token.push_back(t % 4 == 3 ? -1 : t % 4 == 2 ? 1 : 0);
      for (const KvType type : {kKvBF16, kKvFP8}) {
        const std::string what =
            str(device.name, ": ", count, " tokens of ", capacity, type == kKvFP8 ? ", e4m3" : ", bf16");
        const Result actual = run_qkv(device, layer, type, kKvFull, capacity, tokens, x, Rows::kGiven, &adapters);
        if (type == kKvFP8)
          check_qkv<uint8_t>(what, layer, tokens, x, actual, &adapters);
        else
          check_qkv<uint16_t>(what, layer, tokens, x, actual, &adapters);
        const Result plain = run_qkv(device, layer, type, kKvFull, capacity, tokens, x);
        for (int t = 3; t < count; t += 4) {
          CHECK(std::memcmp(&actual.q[size_t(t) * q_size], &plain.q[size_t(t) * q_size], size_t(q_size) * 2) == 0);
          const size_t at = cache_place(layer, tokens, t, false, 1) * size_t(kv_element_bytes(type));
          CHECK(std::memcmp(&actual.cache[at], &plain.cache[at], kHeadDim) == 0);
        }
      }
    }
  });
}

TEST("cuda norm_qkv: bit for bit the results of rms_norm and qkv") {
  for (const auto& [hidden, heads, kv_heads, capacity, count, type] : {std::tuple(96, 2, 1, 1, 1, kKvBF16),
                                                                       {256, 4, 2, 8, 5, kKvBF16},
                                                                       {2880, 1, 1, 2, 2, kKvFP8},
                                                                       {160, 2, 2, 9, 9, kKvBF16},
                                                                       {128, 3, 1, 16, 16, kKvFP8},
                                                                       {32, 1, 1, 16, 0, kKvBF16}}) {
    const Layer layer = random_layer(hidden, heads, kv_heads);
    const Tokens tokens = random_tokens(count);
    const std::vector<float> x = exact_values(size_t(count) * hidden, 31);
    for_each_cuda_device([&](CudaDevice& device) {
      const Result expected = run_qkv(device, layer, type, kKvFull, capacity, tokens, x, Rows::kNormed);
      const Result actual = run_qkv(device, layer, type, kKvFull, capacity, tokens, x, Rows::kNormedOnTheWay);
      if (actual.q != expected.q || actual.cache != expected.cache)
        return fail(__FILE__, __LINE__, str(device.name, ": ", count, " tokens of ", capacity, ", hidden ", hidden));
    });
  }
}

TEST("cuda qkv: golden rotations up to position 131071") {
  const SafetensorsFile file = read_safetensors(source_path("test/golden/kernels/rope.safetensors"));
  const auto values = [&](const char* name) {
    const HostTensor& tensor = file.tensors.at(name);
    return std::vector<double>(tensor.as<double>(), tensor.as<double>() + tensor.elements());
  };
  const std::vector<double> x = values("x"), cosines = values("cos_f64"), sines = values("sin_f64"),
                            expected = values("rotated_f64");
  const int count = int(file.tensors.at("x").shape[0]), heads = 2, width = heads * kHeadDim;

  // Each value is a sum of three bf16. Three identity matrices add them up to all 24 bits.
  const int hidden = 3 * width;
  std::vector<float> thirds;
  for (int t = 0; t < count; ++t) {
    std::vector<float> rest(x.begin() + t * width, x.begin() + (t + 1) * width);
    for (int third = 0; third < 3; ++third) {
      for (float& value : rest) {
        thirds.push_back(bf16_to_f32(f32_to_bf16(value)));
        value -= thirds.back();
      }
    }
  }
  Layer layer = {hidden, heads, 1, {}, {}};
  layer.w.resize(size_t(layer.rows()) * hidden);
  layer.bias.resize(layer.rows());
  for (int row = 0; row < width; ++row) {
    for (int third = 0; third < 3; ++third) layer.w[size_t(row) * hidden + third * width + row] = 1;
  }
  Tokens tokens;
  tokens.max_pages = tokens.num_pages = 1;
  tokens.block_table = {0};
  for (int t = 0; t < count; ++t) {
    tokens.sequence.push_back(0);
    tokens.positions.push_back(t);  // another test covers the cache; angles come from the table
    for (int i = 0; i < kHalf; ++i) tokens.rope.push_back(float(cosines[t * kHalf + i]));
    for (int i = 0; i < kHalf; ++i) tokens.rope.push_back(float(sines[t * kHalf + i]));
  }
  // Before rounding: table, product and sum each add half a unit of float32.
  const double tolerance = 4 * 0x1p-24 * largest(expected);
  for_each_cuda_device([&](CudaDevice& device) {
    const Result actual = run_qkv(device, layer, kKvBF16, kKvFull, count, tokens, thirds);
    for (size_t i = 0; i < expected.size(); ++i) {
      if (!is_rounded(actual.q[i], expected[i], tolerance))
        return fail(__FILE__, __LINE__, str(device.name, ": element ", i, " is not ", expected[i]));
    }
  });
}

}  // namespace oss::test
