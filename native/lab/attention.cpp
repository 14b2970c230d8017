// Operations with a cache of keys and values: qkv and attention.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <random>

#include "kernels/common/dtype.h"
#include "native/base/error.h"
#include "native/base/str.h"
#include "native/lab/on_device.h"
#include "native/lab/operations.h"
#include "native/model/rope.h"

namespace oss::lab {
namespace {

KvType cache_type(Arguments& from, Backend& backend) {
  const KvType otherwise = backend.sizes().defaults().kv_type;
  const char* names[] = {"f32", "bf16", "fp8"};
  const std::string name = from.word_or("kvCacheDtype", names[otherwise], {"f32", "bf16", "fp8"});
  return name == "f32" ? kKvF32 : name == "bf16" ? kKvBF16 : kKvFP8;
}

// What a backend refuses is an option of an engine for it, or a number of the model. Here both are arguments.
void check_sizes(Backend& backend, const StepLimits& limits, KvType type) {
  try {
    backend.sizes().check(limits, type);
  } catch (const Error& error) {
    const std::string option = "kvCache.dtype";
    if (error.field() != option)
      throw Error(error.code(), error.what(), limits.head_dim == kHeadDim ? "heads" : "headDim");
    std::string message = error.what();
    if (const size_t at = message.find(option); at != std::string::npos)
      message.replace(at, option.size(), "kvCacheDtype");
    throw Error(error.code(), message, "kvCacheDtype");
  }
}

int head_dim_of(Arguments& from) { return from.count_or("headDim", kHeadDim, 2, 1024); }

int kv_heads_of(Arguments& from, int heads) {
  const int kv_heads = from.count("kvHeads", 1, 1024);
  if (heads % kv_heads != 0) {
    throw Error(Code::kInvalidArgument, str("expected heads, ", heads, ", to be a multiple of kvHeads, ", kv_heads),
                "kvHeads");
  }
  return kv_heads;
}

// The pages of sequences with these numbers of keys, in a random order, as in an engine that has run for some time.
struct Pages {
  int max_pages = 1;
  std::vector<int32_t> table;  // [sequences, max_pages]; pages that a sequence does not have are 0
  size_t count = 0;

  explicit Pages(std::span<const int32_t> lengths) {
    for (const int32_t length : lengths) max_pages = std::max(max_pages, (length + kPageTokens - 1) / kPageTokens);
    for (const int32_t length : lengths) count += size_t((length + kPageTokens - 1) / kPageTokens);
    std::vector<int32_t> numbers(count);
    std::iota(numbers.begin(), numbers.end(), 0);
    std::ranges::shuffle(numbers, std::mt19937(1));
    table.resize(lengths.size() * size_t(max_pages));
    size_t next = 0;
    for (size_t s = 0; s < lengths.size(); ++s) {
      for (int page = 0; page * kPageTokens < lengths[s]; ++page)
        table[s * size_t(max_pages) + size_t(page)] = numbers[next++];
    }
  }
};

// The place of an element: the layout of one layer's cache is that of kernels/common/args.h on every device.
struct CacheLayout {
  int kv_heads, head_dim;
  KvType type;

  size_t page_bytes() const { return size_t(2) * kv_heads * kPageTokens * head_dim * size_t(kv_element_bytes(type)); }
  size_t at(int32_t page, bool value, int kv_head, int key) const {
    return (((size_t(page) * 2 + value) * kv_heads + kv_head) * kPageTokens + key % kPageTokens) * size_t(head_dim) *
           size_t(kv_element_bytes(type));
  }
  void store(const float* from, std::byte* to) const {
    for (int i = 0; i < head_dim; ++i) {
      if (type == kKvF32) std::memcpy(to + 4 * i, from + i, 4);
      const uint16_t wide = f32_to_bf16(from[i]);
      if (type == kKvBF16) std::memcpy(to + 2 * i, &wide, 2);
      if (type == kKvFP8) to[i] = std::byte(f32_to_e4m3(from[i]));
    }
  }
  void load(const std::byte* from, float* to) const {
    for (int i = 0; i < head_dim; ++i) {
      uint16_t wide;
      if (type == kKvF32) std::memcpy(to + i, from + 4 * i, 4);
      if (type == kKvBF16) {
        std::memcpy(&wide, from + 2 * i, 2);
        to[i] = bf16_to_f32(wide);
      }
      if (type == kKvFP8) to[i] = e4m3_to_f32(uint8_t(from[i]));
    }
  }
};

// { x [tokens, hidden], qWeight bf16 [heads·headDim, hidden], kWeight, vWeight bf16 [kvHeads·headDim, hidden], qBias,
//   kBias, vBias f32, positions i32 [tokens]? } → { q [tokens, heads, headDim], k, v [tokens, kvHeads, headDim] }
// q and k are rotated; k and v are as the cache holds them.
class Qkv final : public OnDevice {
 public:
  Qkv(Lab& lab, Arguments& from, size_t cold_bytes) : OnDevice(lab) {
    const int tokens = from.count("tokens", 1, 1 << 16), hidden = from.count("hidden"),
              heads = from.count("heads", 1, 1024), kv_heads = kv_heads_of(from, heads), head_dim = head_dim_of(from);
    if (head_dim % 2 != 0) {  // a rotation takes pairs
      throw Error(Code::kInvalidArgument, str("expected an even number for headDim but received ", head_dim),
                  "headDim");
    }
    args_ = {.tokens = tokens,
             .hidden = hidden,
             .heads = heads,
             .kv_heads = kv_heads,
             .head_dim = head_dim,
             .group = kKvFull,
             .type = cache_type(from, backend_)};
    layout_ = {kv_heads, head_dim, args_.type};

    StepArrays of;
    set_tokens(from, tokens, of);
    config_.head_dim = head_dim;
    config_.rope = {.theta = from.number_or("ropeTheta", 150000, 1, 1e12f),
                    .factor = from.number_or("ropeFactor", 32, 1, 1e6f),
                    .beta_fast = from.number_or("ropeBetaFast", 32, 1e-6f, 1e6f),
                    .beta_slow = from.number_or("ropeBetaSlow", 1, 1e-6f, 1e6f),
                    .original_context = from.count_or("ropeOriginalContext", 4096),
                    .truncate = false};
    const Rope rope(config_);
    of.rope.resize(size_t(tokens) * size_t(head_dim));
    for (int t = 0; t < tokens; ++t) rope.fill(of.positions[size_t(t)], of.rope.data() + size_t(t) * size_t(head_dim));

    const int q_size = heads * head_dim, kv_size = kv_heads * head_dim;
    // In this order, so that the matrices are adjacent, and the biases.
    const auto matrix = [&](const char* name, int rows, MatrixUse use) {
      Array& array = from.array(name, {DType::kBF16}, {{{"rows", rows}, {"hidden", hidden}}});
      bring_to_host(lab, array);
      return weights.add_matrix(array, rows, hidden, use);
    };
    const auto bias = [&](const char* name, int rows) {
      Array& array = from.array(name, {DType::kF32, DType::kBF16}, {{{"rows", rows}}});
      bring_to_host(lab, array);
      return weights.add_vector(array);
    };
    matrices_[0] = matrix("qWeight", q_size, MatrixUse::kRotated);
    matrices_[1] = matrix("kWeight", kv_size, MatrixUse::kRotated);
    matrices_[2] = matrix("vWeight", kv_size, MatrixUse::kProduct);
    biases_[0] = bias("qBias", q_size);
    biases_[1] = bias("kBias", kv_size);
    biases_[2] = bias("vBias", kv_size);
    x_ = operand(from.array("x", {DType::kF32, DType::kBF16}, {{{"tokens", tokens}, {"hidden", hidden}}}));
    q_ = operand_result(from, "q", {{{"tokens", tokens}, {"heads", heads}, {"headDim", head_dim}}});
    cache_bytes_ = of.table.size() * layout_.page_bytes();
    cache_ = room(cache_bytes_);
    set_step(std::move(of));
    limits.hidden = hidden;
    limits.heads = heads;
    limits.kv_heads = kv_heads;
    limits.head_dim = head_dim;
    check_sizes(backend_, limits, args_.type);
    weights.pack(backend_, cold_bytes);
    const double elements = double(q_size + 2 * kv_size) * hidden;
    work = {.bytes = 2 * elements, .flops = 2 * elements * tokens, .on_bf16_unit = true};
  }
  void run(size_t call) override {
    const size_t i = call % weights.copies();
    const QkvWeights of = {weights.matrix(i, matrices_[0]), weights.matrix(i, matrices_[1]),
                           weights.matrix(i, matrices_[2]), weights.vector(i, biases_[0]),
                           weights.vector(i, biases_[1]),   weights.vector(i, biases_[2])};
    backend_.qkv(args_, step, x_, of, {}, q_, cache_);
  }
  Outputs outputs() override {
    Outputs out = OnDevice::outputs();
    std::vector<float> words(cache_bytes_ / sizeof(float));
    backend_.read(static_cast<const float*>(cache_), words);
    const auto* bytes = reinterpret_cast<const std::byte*>(words.data());
    const size_t row = size_t(args_.kv_heads) * size_t(args_.head_dim);
    for (const bool value : {false, true}) {
      std::vector<float> values(size_t(args_.tokens) * row);
      for (int t = 0; t < args_.tokens; ++t) {
        const int position = step.positions[size_t(t)];
        const int32_t page =
            arrays().table[size_t(step.sequence[size_t(t)]) * size_t(step.max_pages) + size_t(position / kPageTokens)];
        for (int h = 0; h < args_.kv_heads; ++h)
          layout_.load(bytes + layout_.at(page, value, h, position),
                       values.data() + size_t(t) * row + size_t(h) * size_t(args_.head_dim));
      }
      out[value ? "v" : "k"] = array_of(DType::kF32, std::span<const float>(values));
    }
    return out;
  }

 private:
  // Given positions are of one sequence. Otherwise few tokens are sequences, and many are a prompt.
  void set_tokens(Arguments& from, int tokens, StepArrays& of) {
    std::vector<int32_t> lengths;
    if (from.has("positions")) {
      of.positions = read_integers(lab_, from.array("positions", {DType::kI32}, {{{"tokens", tokens}}}));
      of.sequence.assign(size_t(tokens), 0);
      std::vector<int32_t> sorted = of.positions;
      std::ranges::sort(sorted);
      const bool twice = std::ranges::adjacent_find(sorted) != sorted.end();
      if (twice || sorted.front() < 0 || sorted.back() >= 1 << 18) {
        throw Error(Code::kInvalidArgument, "expected different positions in [0, 262144)", "positions");
      }
      lengths = {sorted.back() + 1};
    } else if (tokens <= kMostSequences) {
      of.positions.assign(size_t(tokens), 0);
      of.sequence.resize(size_t(tokens));
      std::iota(of.sequence.begin(), of.sequence.end(), 0);
      lengths.assign(size_t(tokens), 1);
    } else {
      of.positions.resize(size_t(tokens));
      std::iota(of.positions.begin(), of.positions.end(), 0);
      of.sequence.assign(size_t(tokens), 0);
      lengths = {tokens};
    }
    Pages pages(lengths);
    of.table = std::move(pages.table);
    of.max_pages = pages.max_pages;
  }

  QkvArgs args_;
  CacheLayout layout_;
  Config config_;
  size_t matrices_[3], biases_[3];
  Operand x_, q_;
  void* cache_;
  size_t cache_bytes_;
};

// { q [tokens, heads, headDim], k, v f32 or bf16 [keys, kvHeads, headDim], sinks f32 [heads], positions i32 [tokens]?,
//   lengths i32 [sequences]?, sequence i32 [tokens]? } → { output [tokens, heads, headDim] }
class Attention final : public OnDevice {
 public:
  Attention(Lab& lab, Arguments& from, size_t cold_bytes) : OnDevice(lab) {
    const int tokens = from.count("tokens", 1, 1 << 16), heads = from.count("heads", 1, 1024),
              kv_heads = kv_heads_of(from, heads), head_dim = head_dim_of(from), keys = from.count("keys");
    const int window = from.count_or("window", 0, 0);
    args_ = {.tokens = tokens,
             .heads = heads,
             .kv_heads = kv_heads,
             .head_dim = head_dim,
             .group = window > 0 ? kKvWindow : kKvFull,
             .type = cache_type(from, backend_),
             .window = window,
             .max_pages = 1,
             .scale = from.number_or("scale", float(1 / std::sqrt(double(head_dim))), -1e30f, 1e30f)};
    StepArrays of;
    const std::vector<int32_t> lengths = sequences(from, tokens, keys, of);
    const Pages pages(lengths);
    of.table = pages.table;
    of.max_pages = args_.max_pages = pages.max_pages;
    of.rope.assign(size_t(tokens) * size_t(head_dim), 0);

    Array& sinks = from.array("sinks", {DType::kF32, DType::kBF16}, {{{"heads", heads}}});
    bring_to_host(lab, sinks);
    sinks_ = weights.add_vector(sinks);
    const Shape rows = {{{"tokens", tokens}, {"heads", heads}, {"headDim", head_dim}}},
                cached = {{{"keys", keys}, {"kvHeads", kv_heads}, {"headDim", head_dim}}};
    q_ = operand(from.array("q", {DType::kF32, DType::kBF16}, rows));
    fill_caches(from.array("k", {DType::kF32, DType::kBF16}, cached),
                from.array("v", {DType::kF32, DType::kBF16}, cached), lengths, pages, cold_bytes);
    out_ = operand_result(from, "output", rows);
    count_work(of);
    set_step(std::move(of));
    limits.heads = heads;
    limits.kv_heads = kv_heads;
    limits.head_dim = head_dim;
    limits.window = window;
    check_sizes(backend_, limits, args_.type);
    weights.pack(backend_, 0);
  }
  void run(size_t call) override {
    backend_.attention(args_, step, q_, caches_[call % caches_.size()], weights.vector(0, sinks_), out_);
  }

 private:
  // Positions and sequences of the tokens: by default the last positions of one sequence. Returns the keys of each.
  std::vector<int32_t> sequences(Arguments& from, int tokens, int keys, StepArrays& of) {
    std::vector<int32_t> lengths = {keys};
    if (from.has("lengths")) lengths = read_integers(lab_, from.array("lengths", {DType::kI32}));
    int64_t sum = 0;
    for (const int32_t length : lengths) sum += std::max(length, 0);
    if (lengths.empty() || std::ranges::min(lengths) < 1 || sum != keys) {
      throw Error(Code::kInvalidArgument,
                  str("expected lengths to be at least 1 each and ", keys, " together, the number of keys"), "lengths");
    }
    const Shape shape = {{{"tokens", tokens}}};
    of.sequence.assign(size_t(tokens), 0);
    if (from.has("sequence")) of.sequence = read_integers(lab_, from.array("sequence", {DType::kI32}, shape));
    for (const int32_t s : of.sequence) {
      if (s < 0 || s >= int32_t(lengths.size())) {
        throw Error(Code::kInvalidArgument, str("expected sequence in [0, ", lengths.size(), ") but received ", s),
                    "sequence");
      }
    }
    if (from.has("positions")) {
      of.positions = read_integers(lab_, from.array("positions", {DType::kI32}, shape));
    } else {  // the last ones of each sequence
      std::vector<int32_t> counts(lengths.size()), seen(lengths.size());
      for (const int32_t s : of.sequence) ++counts[size_t(s)];
      for (const int32_t s : of.sequence)
        of.positions.push_back(lengths[size_t(s)] - counts[size_t(s)] + seen[size_t(s)]++);
    }
    for (int t = 0; t < tokens; ++t) {
      const int32_t position = of.positions[size_t(t)], length = lengths[size_t(of.sequence[size_t(t)])];
      if (position < 0 || position >= length) {
        throw Error(Code::kInvalidArgument,
                    str("expected positions below the ", length, " keys of their sequence but received ", position),
                    "positions");
      }
    }
    return lengths;
  }

  void fill_caches(Array& k, Array& v, std::span<const int32_t> lengths, const Pages& pages, size_t cold_bytes) {
    const CacheLayout layout = {args_.kv_heads, args_.head_dim, args_.type};
    const size_t row = size_t(args_.kv_heads) * size_t(args_.head_dim);
    std::vector<float> words(pages.count * layout.page_bytes() / sizeof(float));
    auto* bytes = reinterpret_cast<std::byte*>(words.data());
    for (const bool value : {false, true}) {
      Array& from = value ? v : k;
      bring_to_host(lab_, from);
      std::vector<float> page_rows(size_t(kPageTokens) * row);
      size_t first = 0;  // key of all sequences
      for (size_t s = 0; s < lengths.size(); first += size_t(lengths[s]), ++s) {
        for (int begin = 0; begin < lengths[s]; begin += kPageTokens) {
          const int count = std::min(kPageTokens, lengths[s] - begin);
          read_floats(lab_, from, (first + size_t(begin)) * row, std::span(page_rows).first(size_t(count) * row));
          const int32_t page = pages.table[s * size_t(pages.max_pages) + size_t(begin / kPageTokens)];
          for (int key = 0; key < count; ++key) {
            for (int h = 0; h < args_.kv_heads; ++h)
              layout.store(page_rows.data() + size_t(key) * row + size_t(h) * size_t(args_.head_dim),
                           bytes + layout.at(page, value, h, key));
          }
        }
      }
    }
    const size_t copies = copies_for(words.size() * sizeof(float), cold_bytes);
    while (caches_.size() < copies) {
      caches_.push_back(room(words.size() * sizeof(float)));
      backend_.write(words, static_cast<float*>(caches_.back()));
    }
  }

  // Each key that some token of its sequence sees is read once.
  void count_work(const StepArrays& of) {
    double pairs = 0;
    std::vector<std::pair<int, std::pair<int, int>>> seen;  // sequence, first and last key
    for (size_t t = 0; t < of.positions.size(); ++t) {
      const int position = of.positions[t], first = args_.window > 0 ? std::max(0, position - args_.window + 1) : 0;
      pairs += position - first + 1;
      const auto known = std::ranges::find(seen, of.sequence[t], [](const auto& one) { return one.first; });
      if (known == seen.end()) {
        seen.push_back({of.sequence[t], {first, position}});
      } else {
        known->second = {std::min(known->second.first, first), std::max(known->second.second, position)};
      }
    }
    double keys = 0;
    for (const auto& [sequence, range] : seen) keys += range.second - range.first + 1;
    work = {.bytes = 2 * keys * args_.kv_heads * args_.head_dim * kv_element_bytes(args_.type),
            .flops = 4 * pairs * args_.heads * args_.head_dim,
            .on_bf16_unit = backend_.info().isa == "amx" && args_.head_dim == kHeadDim};
  }

  AttentionArgs args_;
  size_t sinks_;
  Operand q_, out_;
  std::vector<void*> caches_;
};

}  // namespace

std::unique_ptr<Operation> make_qkv(Lab& lab, Arguments& from, size_t cold_bytes) {
  return std::make_unique<Qkv>(lab, from, cold_bytes);
}
std::unique_ptr<Operation> make_attention(Lab& lab, Arguments& from, size_t cold_bytes) {
  return std::make_unique<Attention>(lab, from, cold_bytes);
}

}  // namespace oss::lab
