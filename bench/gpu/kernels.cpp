// Every CUDA kernel at the shapes of a model, one JSON object per line:
//
//   oss_gpu_bench 20b|120b|tiny [--tokens 1,4,8,16,32,64,128,256] [--prefill 2048] [--seconds 40]
//
//   {"kernel":"linear o","tokens":8,"context":0,"microseconds":7.1,"bytes":23756800,"flops":188743680}
//
// A launch is recorded several times into a graph, over weights that rotate past the L2 cache, and the graph is
// replayed. Microseconds are the median of 30 replays, divided by the number of launches. `bytes` and `flops` count what
// the operation needs by its shape (experts: by the drawn ones), not what the kernel does.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "kernels/common/dtype.h"
#include "kernels/common/synthetic.h"
#include "kernels/cuda/plan.h"
#include "kernels/cuda/sample_scratch.h"
#include "native/backend/cuda/cuda_module.h"
#include "native/base/error.h"
#include "native/base/str.h"

namespace oss {
namespace {

struct Shape {
  int hidden, intermediate, heads, kv_heads, experts, top_k, vocab, window;
};
constexpr Shape k20b{2880, 2880, 64, 8, 32, 4, 201088, 128};
constexpr Shape k120b{2880, 2880, 64, 8, 128, 4, 201088, 128};
constexpr Shape kTiny{128, 128, 4, 2, 8, 2, 512, 128};  // only checks that this program works

class Bench {
 public:
  Bench(const cuda::Module& module, int device, const Shape& shape, double seconds)
      : cuda_(module),
        s_(shape),
        deadline_(Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds))) {
    check(cuda_.use_device(device), "use_device");
    cuda::DeviceProperties properties{};
    check(cuda_.device_properties(device, &properties), "device_properties");
    cold_bytes_ = s_.hidden == kTiny.hidden ? 1 : 4 * properties.l2_bytes;
    most_fused_ = cuda::most_fused_tokens(
        {.hidden = s_.hidden, .intermediate = s_.intermediate, .experts = s_.experts, .top_k = s_.top_k},
        {.multiprocessors = properties.multiprocessors, .shared_bytes = size_t(properties.shared_bytes)});
    check(cuda_.create_stream(&stream_), "create_stream");
    check(cuda_.create_event(&from_), "create_event");
    check(cuda_.create_event(&to_), "create_event");
  }

  void decode(int tokens, int context);
  void prefill(int tokens, int context);

 private:
  using Clock = std::chrono::steady_clock;

  void check(cuda::Status status, const std::string& what) const {
    if (status != 0) throw Error(Code::kDevice, str(what, ": ", cuda_.explain(status)));
  }

  // Memory is freed after the measurement of one shape.
  void* allocate(size_t bytes) {
    void* memory = nullptr;
    check(cuda_.allocate(&memory, std::max<size_t>(bytes, 256)), str("allocating ", bytes, " bytes"));
    memory_.push_back(memory);
    return memory;
  }
  void release() {
    check(cuda_.synchronize(stream_), "synchronize");
    for (void* memory : memory_) cuda_.release(memory);
    memory_.clear();
  }
  template <typename T>
  T* empty(size_t count) {
    return static_cast<T*>(allocate(count * sizeof(T)));
  }
  template <typename T>
  T* zeros(size_t count) {
    T* to = empty<T>(count);
    check(cuda_.fill(to, 0, count * sizeof(T), stream_), "fill");
    return to;
  }
  template <typename T>
  T* upload(const std::vector<T>& values) {
    T* to = empty<T>(values.size());
    void* pinned = nullptr;
    check(cuda_.allocate_pinned(&pinned, std::max<size_t>(values.size() * sizeof(T), 256)), "pinned memory");
    std::memcpy(pinned, values.data(), values.size() * sizeof(T));
    check(cuda_.copy(to, pinned, values.size() * sizeof(T), stream_), "copy");
    check(cuda_.synchronize(stream_), "synchronize");
    cuda_.release_pinned(pinned);
    return to;
  }
  cuda::bf16* normals(size_t count, float scale) { return synthetic<cuda::bf16>(kSyntheticNormal, count, scale); }
  float* floats(size_t count, float scale) {
    std::vector<float> values(count);
    for (float& value : values) {  // close to normal, and fast: the sum of four bytes has a deviation of 148
      const uint32_t bits = uint32_t(random_());
      value = scale / 148 * float(int((bits & 255) + (bits >> 8 & 255) + (bits >> 16 & 255) + (bits >> 24)) - 510);
    }
    return upload(values);
  }
  template <typename T>
  T* synthetic(int kind, size_t count, float scale) {
    T* to = empty<T>(count);
    const cuda::SynthesizeArgs args = {
        .kind = kind, .key_lo = ++key_, .key_hi = 0, .first = 0, .count = count, .scale = scale};
    check(cuda_.synthesize(args, to, stream_), "synthesize");
    return to;
  }
  // Enough copies that a copy was certainly evicted when it is used again.
  template <typename T>
  std::vector<T> rotating(size_t bytes, const std::function<T()>& make) {
    std::vector<T> copies;
    const size_t count = std::clamp<size_t>((cold_bytes_ + bytes - 1) / bytes, 1, 64);
    while (copies.size() < count) copies.push_back(make());
    return copies;
  }
  const void* matrix(int rows, int cols) {
    const cuda::bf16* raw = normals(size_t(rows) * cols, 0.02f);
    void* packed = allocate(cuda::packed_matrix_bytes(rows, cols));
    check(cuda_.pack_matrix({.rows = rows, .cols = cols, .order = cuda::kRowsPlain}, raw, packed, stream_),
          "pack_matrix");
    drop(raw);
    return packed;
  }
  void drop(const void* memory) {
    check(cuda_.synchronize(stream_), "synchronize");
    memory_.erase(std::ranges::find(memory_, memory));
    cuda_.release(const_cast<void*>(memory));
  }
  cuda::PackedExperts experts(int rows, int cols, cuda::RowOrder order) {
    const auto* blocks = synthetic<uint8_t>(kSyntheticCodes, size_t(s_.experts) * rows * cols / 2, 0);
    const auto* scales = synthetic<uint8_t>(kSyntheticScales, size_t(s_.experts) * rows * cols / kMxBlock, 0.02f);
    void* codes = allocate(s_.experts * cuda::packed_codes_bytes(rows, cols));
    void* packed_scales = allocate(s_.experts * cuda::packed_scales_bytes(rows, cols));
    const cuda::PackExpertsArgs args = {.experts = s_.experts, .rows = rows, .cols = cols, .order = order};
    check(cuda_.pack_expert_codes(args, blocks, codes, stream_), "pack_expert_codes");
    check(cuda_.pack_expert_scales(args, scales, packed_scales, stream_), "pack_expert_scales");
    drop(blocks);
    drop(scales);
    return {codes, packed_scales, floats(size_t(s_.experts) * rows, 0.02f)};
  }
  // A step whose counts say that there is no work is fast, and no valid measurement.
  void expect_written(const cuda::bf16* zeros_before, size_t count) {
    std::vector<cuda::bf16> values(count);
    check(cuda_.copy(values.data(), zeros_before, count * sizeof(cuda::bf16), stream_), "copy");
    check(cuda_.synchronize(stream_), "synchronize");
    if (std::ranges::count(values, 0) * 2 > std::ptrdiff_t(count))
      throw Error(Code::kInternal, "the kernel has written nothing");
  }
  static double expert_bytes(int rows, int cols) { return double(rows) * cols * 17 / 32 + 4.0 * rows; }

  // `launch(i)` queues the i-th launch; i selects the rotating copy.
  void measure(const std::string& kernel, double bytes, double flops,
               const std::function<cuda::Status(size_t)>& launch);

  struct StepArrays {
    cuda::DeviceStep step{};
    int pages = 0, most_splits = 1, tiles = 0;
  };
  // `sequences` sequences with `context` tokens each; the step computes the last `each` of them.
  StepArrays make_step(int sequences, int each, int context);
  double key_value_bytes(int sequences, int each, int context, int window) const;
  void attention(const StepArrays& arrays, int sequences, int each, int context, KvGroup group);
  void matrices(const StepArrays& arrays, int tokens, int rows);

  const cuda::Module& cuda_;
  const Shape s_;
  const Clock::time_point deadline_;
  size_t cold_bytes_ = 0;
  int most_fused_ = 0;  // the largest step that runs in fused phases
  cuda::Stream stream_ = nullptr;
  void *from_ = nullptr, *to_ = nullptr;
  std::vector<void*> memory_;
  std::mt19937 random_{1};
  uint32_t key_ = 0;
  int tokens_ = 0, context_ = 0;  // of the printed rows
};

void Bench::measure(const std::string& kernel, double bytes, double flops,
                    const std::function<cuda::Status(size_t)>& launch) {
  if (Clock::now() > deadline_) {
    std::printf("{\"kernel\":\"%s\",\"tokens\":%d,\"context\":%d,\"skipped\":\"out of time\"}\n", kernel.c_str(),
                tokens_, context_);
    return;
  }
  const auto milliseconds = [&](const std::function<void()>& body) {
    check(cuda_.record_event(from_, stream_), kernel);
    body();
    check(cuda_.record_event(to_, stream_), kernel);
    check(cuda_.await_event(to_), kernel);
    float value = 0;
    check(cuda_.elapsed(from_, to_, &value), kernel);
    return double(value);
  };
  for (size_t i = 0; i < 2; ++i) check(launch(i), kernel);
  const double once = milliseconds([&] { check(launch(2), kernel); });
  const size_t launches = std::clamp<size_t>(size_t(1.0 / std::max(once, 1e-3)), 4, 100);
  void* graph = nullptr;
  check(cuda_.begin_capture(stream_), kernel);
  for (size_t i = 0; i < launches; ++i) check(launch(i), kernel);
  check(cuda_.end_capture(stream_, &graph), kernel);
  std::vector<double> times;
  for (int repeat = 0; repeat < 32; ++repeat)
    times.push_back(milliseconds([&] { check(cuda_.launch_graph(graph, stream_), kernel); }));
  check(cuda_.destroy_graph(graph), kernel);
  times.erase(times.begin(), times.begin() + 2);
  std::ranges::sort(times);
  std::printf("{\"kernel\":\"%s\",\"tokens\":%d,\"context\":%d,\"microseconds\":%.4g,\"bytes\":%.0f,\"flops\":%.0f}\n",
              kernel.c_str(), tokens_, context_, times[times.size() / 2] * 1000 / double(launches), bytes, flops);
  std::fflush(stdout);
}

Bench::StepArrays Bench::make_step(int sequences, int each, int context) {
  StepArrays out;
  const int pages_each = (context + kPageTokens - 1) / kPageTokens;
  out.pages = sequences * pages_each;
  std::vector<int32_t> tokens, positions, sequence, logit_tokens, singles;
  std::vector<int32_t> table(size_t(out.pages));
  for (int p = 0; p < out.pages; ++p) table[size_t(p)] = p;
  std::ranges::shuffle(table, random_);
  std::vector<cuda::AttentionTile> tiles;
  for (int s = 0; s < sequences; ++s) {
    for (int t = 0; t < each; ++t) {
      if (t % cuda::kAttentionTile == 0)
        tiles.push_back({int32_t(tokens.size()), std::min(cuda::kAttentionTile, each - t)});
      tokens.push_back(int32_t(random_() % unsigned(s_.vocab)));
      if (each == 1) singles.push_back(int32_t(tokens.size()) - 1);
      positions.push_back(context - each + t);
      sequence.push_back(s);
    }
    logit_tokens.push_back(int32_t(tokens.size()) - 1);
  }
  out.tiles = int(tiles.size());
  out.most_splits = cuda::visible_pages(context - 1, 0).splits;
  const cuda::StepCounts counts = {.tokens = int32_t(tokens.size()),
                                   .sequences = sequences,
                                   .rows = sequences,
                                   .tiles = out.tiles,
                                   .singles = int32_t(singles.size())};
  std::vector<float> rope(tokens.size() * kHeadDim);
  for (size_t i = 0; i < rope.size(); ++i) rope[i] = i % kHeadDim < kHeadDim / 2 ? 0.8f : 0.6f;
  out.step = {.counts = upload(std::vector{counts}),
              .tokens = upload(tokens),
              .positions = upload(positions),
              .sequence = upload(sequence),
              .block_tables = {upload(table), upload(table)},
              .rope = upload(rope),
              .logit_tokens = upload(logit_tokens),
              .tiles = upload(tiles),
              .max_pages = pages_each,
              .singles = upload(singles)};
  return out;
}

// Keys and values that the tokens see, each read once per sequence.
double Bench::key_value_bytes(int sequences, int each, int context, int window) const {
  const int seen = window > 0 ? std::min(context, window + each - 1) : context;
  return 2.0 * 2 * sequences * seen * s_.kv_heads * kHeadDim;
}

void Bench::attention(const StepArrays& arrays, int sequences, int each, int context, KvGroup group) {
  const int tokens = sequences * each, window = group == kKvWindow ? s_.window : 0;
  const size_t cache_elements = size_t(arrays.pages) * 2 * s_.kv_heads * kPageTokens * kHeadDim;
  const auto caches = rotating<cuda::bf16*>(cache_elements * 2, [&] { return normals(cache_elements, 1); });
  const cuda::bf16* q = normals(size_t(tokens) * s_.heads * kHeadDim, 1);
  const float* sinks = floats(size_t(s_.heads), 1);
  cuda::bf16* out = zeros<cuda::bf16>(size_t(tokens) * s_.heads * kHeadDim);
  const AttentionArgs args = {.tokens = tokens,
                              .heads = s_.heads,
                              .kv_heads = s_.kv_heads,
                              .head_dim = kHeadDim,
                              .group = group,
                              .type = kKvBF16,
                              .window = window,
                              .max_pages = arrays.step.max_pages,
                              .scale = 0.125f};
  double keys = 0;  // over all tokens
  for (int t = 0; t < each; ++t) {
    const int position = context - each + t + 1;
    keys += double(sequences) * (window > 0 ? std::min(position, window) : position);
  }
  const double bytes = key_value_bytes(sequences, each, context, window) + 4.0 * tokens * s_.heads * kHeadDim;
  const double flops = 4.0 * keys * s_.heads * kHeadDim;
  const std::string kind = group == kKvWindow ? "window" : "full";
  if (each == 1) {
    const int splits = window > 0 ? 1 : arrays.most_splits;
    float* scratch = static_cast<float*>(allocate(cuda::attention_scratch_bytes(tokens, s_.heads)));
    int32_t* counters = zeros<int32_t>(size_t(tokens) * s_.kv_heads);
    measure("attention_split " + kind, bytes, flops, [&, splits](size_t i) {
      return cuda_.attention_split(args, arrays.step, splits, q, caches[i % caches.size()], sinks, scratch, counters,
                                   out, stream_);
    });
  } else {
    measure("attention_tiles " + kind, bytes, flops, [&](size_t i) {
      return cuda_.attention_tiles(args, arrays.step, arrays.tiles, q, caches[i % caches.size()], sinks, out, stream_);
    });
  }
  expect_written(out, size_t(tokens) * s_.heads * kHeadDim);
}

void Bench::matrices(const StepArrays& arrays, int tokens, int rows) {
  const int32_t* num_tokens = &arrays.step.counts->tokens;
  const int32_t* num_rows = &arrays.step.counts->rows;
  const int q_width = s_.heads * kHeadDim, qkv_width = (s_.heads + 2 * s_.kv_heads) * kHeadDim;
  float* x = floats(size_t(tokens) * s_.hidden, 1);
  float* norm = floats(size_t(s_.hidden), 1);
  cuda::bf16* normed = normals(size_t(tokens) * s_.hidden, 1);
  cuda::bf16* q = normals(size_t(tokens) * q_width, 1);
  const double per_token = double(tokens) * s_.hidden;

  measure("rms_norm", 6 * per_token, 4 * per_token, [&](size_t) {
    return cuda_.rms_norm({.rows = tokens, .hidden = s_.hidden, .eps = 1e-5f}, num_tokens, x, norm, normed, nullptr,
                          stream_);
  });
  const cuda::bf16* table = normals(size_t(s_.vocab) * s_.hidden, 0.02f);
  measure("embed", 6 * per_token, 0,
          [&](size_t) { return cuda_.embed({.tokens = tokens, .hidden = s_.hidden}, arrays.step, table, x, stream_); });
  {
    const double weight = 2.0 * qkv_width * s_.hidden;
    const auto weights = rotating<const void*>(size_t(weight), [&] { return matrix(qkv_width, s_.hidden); });
    const float* bias = floats(size_t(qkv_width), 0.1f);
    cuda::bf16* cache = empty<cuda::bf16>(size_t(arrays.pages) * 2 * s_.kv_heads * kPageTokens * kHeadDim);
    const QkvArgs args = {.tokens = tokens,
                          .hidden = s_.hidden,
                          .heads = s_.heads,
                          .kv_heads = s_.kv_heads,
                          .head_dim = kHeadDim,
                          .group = kKvFull,
                          .type = kKvBF16};
    measure("qkv", weight + 2 * per_token + 2.0 * tokens * qkv_width, 2 * per_token * qkv_width, [&](size_t i) {
      return cuda_.qkv(args, arrays.step, normed, weights[i % weights.size()], bias, q, cache, stream_);
    });
    if (tokens <= most_fused_) {
      measure("norm_qkv", weight + 4 * per_token + 2.0 * tokens * qkv_width, 2 * per_token * qkv_width, [&](size_t i) {
        return cuda_.norm_qkv(args, 1e-5f, arrays.step, x, norm, weights[i % weights.size()], bias, q, cache, stream_);
      });
    }
  }
  const auto linear = [&](const std::string& name, const int32_t* counted, int count, int in, int out, bool accumulate,
                          const cuda::bf16* from) {
    const double weight = 2.0 * in * out;
    const auto weights = rotating<const void*>(size_t(weight), [&] { return matrix(out, in); });
    const float* bias = floats(size_t(out), 0.1f);
    float* to = empty<float>(size_t(count) * out);
    check(cuda_.fill(to, 0, size_t(count) * out * 4, stream_), "fill");
    const double bytes = weight + 2.0 * count * in + (accumulate ? 8.0 : 4.0) * count * out;
    measure(name, bytes, 2.0 * count * in * out, [&](size_t i) {
      return cuda_.linear({.rows = count, .in = in, .out = out, .accumulate = accumulate}, counted, from, nullptr,
                          weights[i % weights.size()], bias, to, {}, stream_);
    });
  };
  linear("linear o", num_tokens, tokens, q_width, s_.hidden, true, q);
  {
    constexpr int kRank = 16;  // of an adapter that all tokens have
    const cuda::LowRankTerm* term =
        upload(std::vector<cuda::LowRankTerm>{{.a = normals(size_t(kRank) * q_width, 0.02f),
                                               .b = normals(size_t(s_.hidden) * kRank, 0.02f),
                                               .rank = kRank,
                                               .scale = 1}});
    const cuda::LowRankStep step = {upload(std::vector(size_t(tokens), term)),
                                    empty<float>(size_t(tokens) * cuda::kMostLowRank)};
    float* to = zeros<float>(size_t(tokens) * s_.hidden);
    measure("low_rank o", 2.0 * kRank * (q_width + s_.hidden) + 2.0 * tokens * q_width + 8 * per_token,
            2.0 * tokens * kRank * (q_width + s_.hidden), [&](size_t) {
              return cuda_.low_rank({.rows = tokens, .in = q_width, .out = s_.hidden, .number = 0}, step, num_tokens,
                                    nullptr, q, nullptr, to, stream_);
            });
  }
  linear("linear router", num_tokens, tokens, s_.hidden, s_.experts, false, normed);
  linear("linear head", num_rows, rows, s_.hidden, s_.vocab, false, normed);

  if (tokens <= most_fused_) {
    const double weight = 2.0 * s_.hidden * s_.experts;
    const auto weights = rotating<const void*>(size_t(weight), [&] { return matrix(s_.experts, s_.hidden); });
    const float* bias = floats(size_t(s_.experts), 0.1f);
    float* to = empty<float>(size_t(tokens) * s_.experts);
    measure("norm_linear router", weight + 6 * per_token, 4 * per_token * s_.experts, [&](size_t i) {
      return cuda_.norm_linear({.rows = tokens, .in = s_.hidden, .out = s_.experts, .accumulate = 0}, 1e-5f, num_tokens,
                               x, norm, weights[i % weights.size()], bias, normed, to, stream_);
    });
  }

  float* logits = floats(size_t(tokens) * s_.experts, 1);
  int32_t* chosen = empty<int32_t>(size_t(tokens) * s_.top_k);
  float* share = empty<float>(size_t(tokens) * s_.top_k);
  measure("router", 4.0 * tokens * (s_.experts + 2 * s_.top_k), 0, [&](size_t) {
    return cuda_.router({.tokens = tokens, .experts = s_.experts, .top_k = s_.top_k}, num_tokens, logits, chosen, share,
                        stream_);
  });
  {
    std::vector<int32_t> index;
    std::vector<float> logits_of_index(size_t(tokens) * s_.experts, 0.0f);  // logits that make the same choice
    std::vector<bool> drawn(size_t(s_.experts), false);
    for (int t = 0; t < tokens; ++t) {
      std::vector<int32_t> all(size_t(s_.experts));
      for (int e = 0; e < s_.experts; ++e) all[size_t(e)] = e;
      std::ranges::shuffle(all, random_);
      for (int k = 0; k < s_.top_k; ++k) {
        index.push_back(all[size_t(k)]);
        drawn[size_t(all[size_t(k)])] = true;
        logits_of_index[size_t(t) * s_.experts + size_t(all[size_t(k)])] = float(s_.top_k - k);
      }
    }
    const auto distinct = double(std::ranges::count(drawn, true));
    const double weight = expert_bytes(2 * s_.intermediate, s_.hidden) + expert_bytes(s_.hidden, s_.intermediate);
    struct Layer {
      cuda::PackedExperts gate_up, down;
    };
    const auto layers = rotating<Layer>(size_t(weight * distinct), [&] {
      return Layer{experts(2 * s_.intermediate, s_.hidden, cuda::kRowsGateUp),
                   experts(s_.hidden, s_.intermediate, cuda::kRowsPlain)};
    });
    const int32_t* device_index = upload(index);
    const float* weights = upload(std::vector<float>(index.size(), 1.0f / float(s_.top_k)));
    void* scratch =
        zeros<uint8_t>(cuda::experts_scratch(tokens, s_.top_k, s_.experts, s_.hidden, s_.intermediate).bytes);
    const ExpertsArgs args = {.tokens = tokens,
                              .hidden = s_.hidden,
                              .intermediate = s_.intermediate,
                              .experts = s_.experts,
                              .top_k = s_.top_k,
                              .limit = 7,
                              .alpha = 1.702f};
    measure("experts", weight * distinct + 10 * per_token, 6.0 * tokens * s_.top_k * s_.hidden * s_.intermediate,
            [&](size_t i) {
              const Layer& layer = layers[i % layers.size()];
              return cuda_.experts(args, num_tokens, normed, device_index, weights, layer.gate_up, layer.down, scratch,
                                   x, stream_);
            });
    if (tokens <= most_fused_) {
      const float* routed = upload(logits_of_index);
      measure("few_experts", weight * distinct + 10 * per_token, 6.0 * tokens * s_.top_k * s_.hidden * s_.intermediate,
              [&](size_t i) {
                const Layer& layer = layers[i % layers.size()];
                return cuda_.few_experts(args, num_tokens, routed, normed, layer.gate_up, layer.down, scratch, x,
                                         stream_);
              });
    }
  }
  {
    float* rows_logits = floats(size_t(rows) * s_.vocab, 2);
    void* scratch = allocate(cuda::sample_scratch_bytes({.rows = rows, .vocab = s_.vocab}));
    auto* results = empty<cuda::SampleResult>(size_t(rows));
    for (const bool greedy : {true, false}) {
      std::vector<cuda::SampleRow> how(size_t(rows), cuda::SampleRow{});
      for (int r = 0; r < rows; ++r) {
        SamplingArgs& args = how[size_t(r)].args;
        args.temperature = greedy ? 0.0f : 1.0f;
        args.top_p = greedy ? 1.0f : 0.95f;
        args.repetition_penalty = 1;
        args.seed_lo = unsigned(r);
        how[size_t(r)].row = r;
      }
      const cuda::SampleRow* device_rows = upload(how);
      measure(greedy ? "sample greedy" : "sample top_p", 4.0 * rows * s_.vocab, 0, [&](size_t) {
        return cuda_.sample({.rows = rows, .vocab = s_.vocab}, num_rows, rows_logits, device_rows, nullptr, nullptr,
                            scratch, results, stream_);
      });
    }
  }
}

void Bench::decode(int tokens, int context) {
  tokens_ = tokens;
  context_ = context;
  const StepArrays arrays = make_step(tokens, 1, context);
  attention(arrays, tokens, 1, context, kKvFull);
  attention(arrays, tokens, 1, context, kKvWindow);
  matrices(arrays, tokens, tokens);
  release();
}

void Bench::prefill(int tokens, int context) {
  tokens_ = tokens;
  context_ = context;
  const StepArrays arrays = make_step(1, tokens, context);
  attention(arrays, 1, tokens, context, kKvFull);
  attention(arrays, 1, tokens, context, kKvWindow);
  if (context == tokens) matrices(arrays, tokens, 1);
  release();
}

std::vector<int> counts(const std::string& list) {
  std::vector<int> out;
  for (size_t at = 0; at < list.size();) {
    const size_t comma = std::min(list.find(',', at), list.size());
    out.push_back(std::stoi(list.substr(at, comma - at)));
    at = comma + 1;
  }
  return out;
}

int run(int argc, char** argv) {
  std::string model = "20b", tokens = "1,4,8,16,32,64,128,256", prefill = "2048", context = "1024,8192";
  double seconds = 60;
  for (int i = 1; i < argc; ++i) {
    const std::string arg = argv[i];
    if (arg == "--tokens" && i + 1 < argc)
      tokens = argv[++i];
    else if (arg == "--prefill" && i + 1 < argc)
      prefill = argv[++i];
    else if (arg == "--context" && i + 1 < argc)
      context = argv[++i];
    else if (arg == "--seconds" && i + 1 < argc)
      seconds = std::stod(argv[++i]);
    else
      model = arg;
  }
  if (model != "20b" && model != "120b" && model != "tiny") {
    std::fprintf(stderr, "expected 20b, 120b or tiny but received \"%s\"\n", model.c_str());
    return 2;
  }
  const int device = cuda_device("cuda");
  Bench bench(cuda_module(), device, model == "20b" ? k20b : model == "120b" ? k120b : kTiny, seconds);
  const std::vector<int> contexts = counts(context);
  for (const int t : counts(tokens)) bench.decode(t, contexts.front());
  for (const int t : counts(prefill)) {
    bench.prefill(t, t);
    bench.prefill(t, std::max(t, contexts.back()));
  }
  return 0;
}

}  // namespace
}  // namespace oss

int main(int argc, char** argv) {
  try {
    return oss::run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
