// Every operation of the CPU backend at the shapes of a model, beside what memory and processor could do at that moment.
// bench/README.md tells what is measured; "oss_cpu_bench --help" how to ask for it.
#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <numeric>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "bench/cpu/peaks.h"
#include "kernels/common/q8.h"
#include "kernels/common/synthetic.h"
#include "native/backend/registry.h"
#include "native/base/bandwidth.h"
#include "native/base/error.h"
#include "native/base/json.h"
#include "native/base/str.h"
#include "native/base/synthetic_tensor.h"
#include "native/base/thread_pool.h"
#include "native/model/rope.h"
#include "native/model/synthetic.h"
#include "native/model/weights.h"

namespace oss::bench {
namespace {

constexpr char kHelp[] = R"(Usage: oss_cpu_bench [options]

  --shape NAME       20b, 120b, small or tiny: the synthetic models      [20b]
  --threads N        [one per core]
  --numerics LIST    exact, fast                                         [exact,fast]
  --dense LIST       bf16, q8: what attention, embedding and head are held as
                                                                         [bf16]
  --tokens LIST      tokens in a step: up to 32 they are sequences that decode, else a chunk of one prompt
                                                                         [1,4,8,32,128,512]
  --context LIST     tokens that attention sees                          [1024,8192]
  --only LIST        beginnings of names, e.g. experts,linear            [all operations]
  --json             JSON lines on stdout, the table on stderr
)";

constexpr int kMostSequences = 32;

struct Options {
  std::string shape = "20b";
  int threads = 0;
  std::vector<std::string> numerics = {"exact", "fast"}, dense = {"bf16"}, only;
  std::vector<int> tokens = {1, 4, 8, 32, 128, 512}, contexts = {1024, 8192};
  bool json = false, help = false;
};

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// --- roofs ---------------------------------------------------------------------------------------------------------------

constexpr struct {
  Unit unit;
  const char* name;
} kUnits[] = {{Unit::kFloat32, "float32"},        {Unit::kFloat32Avx2, "float32_avx2"}, {Unit::kBf16, "bf16"},
              {Unit::kInt8, "int8"},              {Unit::kBf16Matrix, "bf16_matrix"},
              {Unit::kInt8Matrix, "int8_matrix"}};
constexpr size_t kUnitCount = std::size(kUnits);

struct Roofs {
  double bytes_per_second = 0;
  double operations_per_second[kUnitCount] = {};  // 0: absent
};

Roofs higher(const Roofs& a, const Roofs& b) {
  Roofs out = {.bytes_per_second = std::max(a.bytes_per_second, b.bytes_per_second)};
  for (size_t i = 0; i < kUnitCount; ++i)
    out.operations_per_second[i] = std::max(a.operations_per_second[i], b.operations_per_second[i]);
  return out;
}

class RoofMeter {
 public:
  RoofMeter(int threads, size_t bytes, double seconds) : threads_(threads), seconds_(seconds) {
    ThreadPool pool(threads);
    HostTensor words;
    words.name = "the roof of memory";
    words.bytes = bytes;
    words.synthetic = {.kind = kSyntheticCodes, .key = 1, .scale = 0};
    words_ = {memory_.materialize(words, pool).as<uint64_t>(), bytes / sizeof(uint64_t)};
  }

  Roofs measure() const {
    Roofs out;
    for (int pass = 0; pass < 7; ++pass) out.bytes_per_second = std::max(out.bytes_per_second, read_bandwidth(words_, threads_));
    for (size_t i = 0; i < kUnitCount; ++i) {
      const PeakLoop* loop = peak_loop(kUnits[i].unit);
      if (loop != nullptr) out.operations_per_second[i] = operations_per_second(*loop, threads_, seconds_);
    }
    return out;
  }

 private:
  int threads_;
  double seconds_;
  SyntheticMemory memory_;
  std::span<const uint64_t> words_;
};

// What multiplies in these kernels: bf16 is for products with weights, and for attention on tiles.
Unit unit_of(const DeviceInfo& info, bool on_bf16_unit) {
  const auto named = [&](const char* part) { return info.isa.find(part) != std::string::npos; };
  if (on_bf16_unit && named("amx")) return Unit::kBf16Matrix;
  if (on_bf16_unit && named("bf16")) return Unit::kBf16;
  return named("avx2") ? Unit::kFloat32Avx2 : Unit::kFloat32;
}

// --- one run -------------------------------------------------------------------------------------------------------------

struct Row {
  std::string kernel;
  int tokens = 0, context = 0;  // 0: none
  bool on_bf16_unit = false;  // of numerics fast
  double bytes = 0, flops = 0;     // of one call: bytes that it reads for the first time, operations that the result needs
  double median = 0, least = 0, most = 0;  // seconds of one call
  int repeats = 0;
};

class Bench {
 public:
  Bench(const Options& options, const std::string& numerics, const std::string& dense)
      : options_(options),
        numerics_(numerics),
        dense_(dense == "q8" ? DenseWeights::kQ8 : DenseWeights::kBF16),
        checkpoint_(synthetic_checkpoint("synthetic:" + options.shape)),
        c_(checkpoint_->config),
        weights_(bind_weights(c_, checkpoint_->tensors)),
        tiny_(options.shape == "tiny"),
        // Past every last-level cache. Tiny is there to see that this program works.
        cold_bytes_(tiny_ ? size_t(1) << 20 : size_t(1) << 30),
        backend_(make()),
        info_(backend_->info()),
        meter_(info_.threads, cold_bytes_, tiny_ ? 2e-4 : 0.02) {}

  void run();

 private:
  std::unique_ptr<Backend> make() const {
    return make_cpu_backend({.backend = "cpu", .threads = options_.threads, .numerics = numerics_, .dense_weights = dense_});
  }

  // Operations that are measured between two measurements of the roofs, with a backend, and its weights, of their own.
  void group(const std::function<void()>& body);
  void describe(const Roofs& roofs);
  void report(const Row& row, const Roofs& roofs) const;
  const char* dense_name() const { return dense_ == DenseWeights::kQ8 ? "q8" : "bf16"; }
  double dense_bytes(double weights) const {
    return dense_ == DenseWeights::kQ8 ? weights * kQ8BlockBytes / kQ8Block : 2 * weights;
  }
  bool wanted(const std::string& kernel) const {
    return options_.only.empty() ||
           std::ranges::any_of(options_.only, [&](const std::string& begin) { return kernel.starts_with(begin); });
  }

  // Memory that lives as long as the group.
  void* allocate(size_t bytes) {
    buffers_.push_back(backend_->allocate(std::max<size_t>(bytes, 64), "the bench"));
    return buffers_.back().as<void>();
  }
  Operand operand(size_t elements, float scale) {
    Operand out{allocate(elements * backend_->operand_bytes())};
    if (backend_->operand_bytes() == sizeof(float)) fill(out.as<float>(), elements, scale);
    return out;
  }
  float* floats(size_t count, float scale) {
    auto* out = static_cast<float*>(allocate(count * sizeof(float)));
    fill(out, count, scale);
    return out;
  }
  void fill(float* to, size_t count, float scale) {
    std::vector<float> values(std::min<size_t>(count, 1 << 20));
    for (float& value : values) value = bf16_to_f32(uint16_t(synthetic_normal_word(2, uint64_t(++drawn_), scale)));
    for (size_t at = 0; at < count; at += values.size())
      backend_->write(std::span(values).first(std::min(values.size(), count - at)), to + at);
  }
  void fill_cache(float* to, size_t bytes, KvType type) {
    if (type == kKvF32) return fill(to, bytes / sizeof(float), 1);
    std::vector<float> pairs(1 << 20);  // of bf16
    for (float& pair : pairs) pair = std::bit_cast<float>(uint32_t(synthetic_normal_word(2, uint64_t(++drawn_), 1)));
    for (size_t at = 0; at < bytes / sizeof(float); at += pairs.size())
      backend_->write(std::span(pairs).first(std::min(pairs.size(), bytes / sizeof(float) - at)), to + at);
  }
  // As many copies that none is in a cache when its turn comes again.
  template <typename Make>
  auto rotating(double bytes, const Make& make) {
    constexpr double kMost = 4096;  // a process has a limited number of mappings
    std::vector<decltype(make(0))> copies;
    const auto count = size_t(std::clamp(std::ceil(double(cold_bytes_) / bytes), 1.0, kMost));
    while (copies.size() < count) copies.push_back(make(copies.size()));
    return copies;
  }
  const HostLayer& layer(size_t i) const { return weights_.layers[i % weights_.layers.size()]; }

  // A step of `sequences` sequences, each with `context` tokens of which the last `each` are in it.
  struct StepArrays {
    std::vector<int32_t> tokens, positions, sequence, table, logit_tokens;
    std::vector<float> rope;
    Step step;
    int pages = 0;
  };
  std::unique_ptr<StepArrays> make_step(int sequences, int each, int context);
  std::unique_ptr<StepArrays> make_step(int tokens, int context = kPageTokens) {
    return tokens <= kMostSequences ? make_step(tokens, 1, context) : make_step(1, tokens, std::max(tokens, context));
  }

  // `call(i)` is the i-th call; what rotates is chosen by i.
  void measure(const Row& row, const std::function<void(size_t)>& call);

  void small_operations();
  void embed();
  void qkv();
  void attention();
  void linear_o();
  void linear_router();
  void head();
  void experts();
  std::vector<int32_t> draw_experts(int tokens, std::vector<int32_t>& deck, int distinct);
  void sample();

  const Options& options_;
  const std::string numerics_;
  const DenseWeights dense_;
  const std::unique_ptr<const Checkpoint> checkpoint_;
  const Config& c_;
  const HostWeights weights_;
  const bool tiny_;
  const size_t cold_bytes_;
  std::unique_ptr<Backend> backend_;
  const DeviceInfo info_;
  const RoofMeter meter_;
  std::optional<Roofs> roofs_;
  std::vector<Buffer> buffers_;
  std::vector<Row> rows_;
  std::mt19937 random_{1};
  int drawn_ = 0;
};

void Bench::run() {
  group([&] { small_operations(); });
  group([&] { embed(); });
  group([&] { qkv(); });
  group([&] { attention(); });
  group([&] { linear_o(); });
  group([&] { linear_router(); });
  group([&] { experts(); });
  group([&] { head(); });
  group([&] { sample(); });
}

void Bench::group(const std::function<void()>& body) {
  if (!roofs_) {
    FILE* table = options_.json ? stderr : stdout;
    std::fprintf(table, "%s, %s, %s, %d threads, numerics %s, dense %s\n%-34s %10s %-22s %8s %9s %8s\n", options_.shape.c_str(),
                 info_.device.c_str(), info_.isa.c_str(), info_.threads, info_.numerics.c_str(), dense_name(), "shape", "us",
                 "[min .. max]", "GB/s", "GFLOP/s", "% of roof");
    roofs_ = meter_.measure();
    describe(*roofs_);
  }
  body();
  buffers_.clear();
  backend_ = make();
  if (rows_.empty()) return;
  const Roofs before = *roofs_;
  roofs_ = meter_.measure();
  for (const Row& row : rows_) report(row, higher(before, *roofs_));
  describe(*roofs_);
  rows_.clear();
}

void Bench::describe(const Roofs& roofs) {
  FILE* table = options_.json ? stderr : stdout;
  std::fprintf(table, "  roofs: memory %.1f GB/s", roofs.bytes_per_second / 1e9);
  std::string units;
  for (size_t i = 0; i < kUnitCount; ++i) {
    const PeakLoop* loop = peak_loop(kUnits[i].unit);
    const double peak = roofs.operations_per_second[i];
    if (loop == nullptr) {
      std::fprintf(table, "; %s absent", kUnits[i].name);
      units += str(",\"", kUnits[i].name, "\":null");
    } else {
      std::fprintf(table, "; %s %.0f Gop/s", loop->instruction, peak / 1e9);
      units += str(",\"", kUnits[i].name, "\":{\"instruction\":", quote(loop->instruction), ",\"operationsPerSecond\":", peak,
                   "}");
    }
  }
  std::fprintf(table, "\n");
  std::fflush(table);
  if (!options_.json) return;
  std::printf("{\"measure\":\"roofs\",\"shape\":%s,\"isa\":%s,\"threads\":%d,\"numerics\":%s,\"dense\":\"%s\",\"bytesPerSecond\":%.4g%s}\n",
              quote(options_.shape).c_str(), quote(info_.isa).c_str(), info_.threads, quote(info_.numerics).c_str(), dense_name(),
              roofs.bytes_per_second, units.c_str());
  std::fflush(stdout);
}

void Bench::report(const Row& row, const Roofs& roofs) const {
  const Unit unit = unit_of(info_, row.on_bf16_unit);
  const auto* named = std::ranges::find(kUnits, unit, [](const auto& one) { return one.unit; });
  const double peak = roofs.operations_per_second[named - kUnits];
  const double by_memory = row.bytes / roofs.bytes_per_second, by_unit = peak > 0 ? row.flops / peak : 0;
  const double share = std::max(by_memory, by_unit) / row.median;
  const char* roof = by_memory >= by_unit ? "memory" : named->name;
  const double gigabytes = row.bytes / row.median / 1e9, gigaflops = row.flops / row.median / 1e9;

  FILE* table = options_.json ? stderr : stdout;
  std::string shape = str(row.kernel, "  ", row.tokens);
  if (row.context > 0) shape += str(" of ", row.context);
  char spread[40];
  std::snprintf(spread, sizeof spread, "[%.3g .. %.3g]", row.least * 1e6, row.most * 1e6);
  std::fprintf(table, "%-34s %10.4g %-22s %8.3g %9.4g %8.1f of %s\n", shape.c_str(), row.median * 1e6, spread, gigabytes,
               gigaflops, 100 * share, roof);
  std::fflush(table);
  if (!options_.json) return;
  std::printf(
      "{\"measure\":\"kernel\",\"shape\":%s,\"isa\":%s,\"threads\":%d,\"numerics\":%s,\"dense\":\"%s\",\"kernel\":%s,\"tokens\":%d,\"context\":%d,"
      "\"microseconds\":{\"median\":%.4g,\"min\":%.4g,\"max\":%.4g,\"repeats\":%d},\"bytes\":%.0f,\"flops\":%.0f,"
      "\"gigabytesPerSecond\":%.4g,\"gigaflopsPerSecond\":%.4g,\"roof\":\"%s\",\"roofShare\":%.3g}\n",
      quote(options_.shape).c_str(), quote(info_.isa).c_str(), info_.threads, quote(info_.numerics).c_str(), dense_name(),
      quote(row.kernel).c_str(), row.tokens, row.context, row.median * 1e6, row.least * 1e6, row.most * 1e6, row.repeats,
      row.bytes, row.flops, gigabytes, gigaflops, roof, share);
  std::fflush(stdout);
}

void Bench::measure(const Row& row, const std::function<void(size_t)>& call) {
  size_t next = 0;
  const auto time = [&](size_t calls) {
    const Clock::time_point start = Clock::now();
    for (size_t i = 0; i < calls; ++i) call(next++);
    return seconds_since(start) / double(calls);
  };
  // Short ones are timed in bundles of half a millisecond; all together take a sixth of a second, or five times as long
  // as one takes.
  const double sample_seconds = tiny_ ? 1e-4 : 5e-4, row_seconds = tiny_ ? 1e-3 : 0.15;
  time(1);  // grows the backend's memory
  const double once = time(1);
  const auto calls = size_t(std::clamp(sample_seconds / once, 1.0, 1000.0));
  const auto repeats = size_t(std::clamp(row_seconds / (once * double(calls)), 5.0, 51.0));
  std::vector<double> times;
  while (times.size() < repeats) times.push_back(time(calls));
  std::ranges::sort(times);
  Row measured = row;
  measured.median = (times[times.size() / 2] + times[(times.size() - 1) / 2]) / 2;
  measured.least = times.front();
  measured.most = times.back();
  measured.repeats = int(repeats);
  rows_.push_back(measured);
}

std::unique_ptr<Bench::StepArrays> Bench::make_step(int sequences, int each, int context) {
  auto out = std::make_unique<StepArrays>();
  const int pages_each = (context + kPageTokens - 1) / kPageTokens;
  out->pages = sequences * pages_each;
  out->table.resize(size_t(out->pages));
  std::iota(out->table.begin(), out->table.end(), 0);
  std::ranges::shuffle(out->table, random_);
  RopeTable rope(c_);
  for (int s = 0; s < sequences; ++s) {
    for (int position = context - each; position < context; ++position) {
      out->tokens.push_back(int32_t(random_() % unsigned(c_.vocab)));
      out->positions.push_back(position);
      out->sequence.push_back(s);
      const float* row = rope.row(position);
      out->rope.insert(out->rope.end(), row, row + c_.head_dim);
    }
    out->logit_tokens.push_back(int32_t(out->tokens.size()) - 1);
  }
  out->step = {.num_tokens = sequences * each,
               .num_sequences = sequences,
               .num_rows = sequences,
               .tokens = out->tokens,
               .positions = out->positions,
               .sequence = out->sequence,
               .block_tables = {out->table, out->table},
               .max_pages = pages_each,
               .rope = out->rope,
               .logit_tokens = out->logit_tokens};
  return out;
}

// --- the operations, in the order of model/forward.cpp -------------------------------------------------------------------

// Those without weights. Their inputs were just written: in a cache here as in a step, so shares above 100 % are possible.
void Bench::small_operations() {
  const Vector norm = backend_->pack_vector(layer(0).attn_norm);
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
        backend_->router({.tokens = tokens, .experts = c_.num_experts, .top_k = c_.experts_per_token}, logits, index, weight);
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
  const Matrix table = backend_->pack_matrix(weights_.embed, MatrixUse::kTable);
  for (const int tokens : options_.tokens) {
    const double width = double(tokens) * c_.hidden;
    float* x = floats(size_t(width), 1);
    std::vector<std::unique_ptr<StepArrays>> steps;  // with tokens of their own, 32,768 where they are few: 190 MB of rows
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
    const HostLayer& from = layer(i);
    return QkvWeights{.q = backend_->pack_rope_matrix(from.q),
                      .k = backend_->pack_rope_matrix(from.k),
                      .v = backend_->pack_matrix(from.v, MatrixUse::kProduct),
                      .q_bias = backend_->pack_vector(from.q_bias),
                      .k_bias = backend_->pack_vector(from.k_bias),
                      .v_bias = backend_->pack_vector(from.v_bias)};
  });
  const KvType type = backend_->defaults().kv_type;
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
    measure({.kernel = "qkv", .tokens = tokens, .on_bf16_unit = true, .bytes = bytes, .flops = 2.0 * tokens * rows * c_.hidden},
            [&](size_t i) { backend_->qkv(args, arrays->step, x, copies[i % copies.size()], q, cache); });
  }
}

void Bench::attention() {
  const KvType type = backend_->defaults().kv_type;
  const Vector sinks = backend_->pack_vector(layer(0).sinks);
  for (const int tokens : options_.tokens) {
    for (const int context : options_.contexts) {
      const auto arrays = make_step(tokens, context);
      const int sequences = arrays->step.num_sequences, each = tokens / sequences, seen = arrays->positions.back() + 1;
      const size_t cache_bytes = size_t(arrays->pages) * 2 * c_.kv_size() * kPageTokens * kv_element_bytes(type);
      std::vector<float*> caches;  // with room for the longest; made when it is first wanted
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
  struct Weights {
    Matrix o;
    Vector bias;
  };
  const double weights = double(c_.q_size()) * c_.hidden, bytes = dense_bytes(weights);
  const auto copies = rotating(bytes, [&](size_t i) {
    return Weights{backend_->pack_matrix(layer(i).o, MatrixUse::kProduct), backend_->pack_vector(layer(i).o_bias)};
  });
  for (const int tokens : options_.tokens) {
    const Operand attended = operand(size_t(tokens) * c_.q_size(), 1);
    float* x = floats(size_t(tokens) * c_.hidden, 1);
    const LinearArgs args = {.rows = tokens, .in = c_.q_size(), .out = c_.hidden, .accumulate = 1};
    measure({.kernel = "linear o", .tokens = tokens, .on_bf16_unit = true, .bytes = bytes, .flops = 2 * weights * tokens},
            [&](size_t i) {
              const Weights& weights = copies[i % copies.size()];
              backend_->linear(args, RowsOf::kTokens, attended, weights.o, &weights.bias, x);
            });
  }
}

void Bench::linear_router() {
  if (!wanted("linear router")) return;
  const double bytes = 2.0 * c_.num_experts * c_.hidden;
  const auto copies = rotating(bytes, [&](size_t i) { return backend_->pack_matrix(layer(i).router, MatrixUse::kRouter); });
  const Vector bias = backend_->pack_vector(layer(0).router_bias);
  for (const int tokens : options_.tokens) {
    const Operand normed = operand(size_t(tokens) * c_.hidden, 1);
    float* logits = floats(size_t(tokens) * c_.num_experts, 0);
    const LinearArgs args = {.rows = tokens, .in = c_.hidden, .out = c_.num_experts, .accumulate = 0, .precise = 1};
    measure({.kernel = "linear router", .tokens = tokens, .on_bf16_unit = true, .bytes = bytes, .flops = bytes * tokens},
            [&](size_t i) {
              backend_->linear(args, RowsOf::kTokens, normed, copies[i % copies.size()], &bias, logits);
            });
  }
}

// top_k different experts for each token. The first token takes them from a deck that goes round from call to call, so that
// one token alone meets all experts before the same again; the others from all. Drawn anew until `distinct` are touched, so
// that all calls have the same work.
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
  struct Weights {
    ExpertMatrix gate_up, down;
  };
  // MXFP4 takes 17 bytes for 32 weights; biases are float32.
  const auto matrix_bytes = [](double rows, double cols) { return rows * cols * 17 / 32 + 4 * rows; };
  const double expert_bytes =
      matrix_bytes(2 * c_.intermediate, c_.hidden) + matrix_bytes(c_.hidden, c_.intermediate);
  // Half as much again as elsewhere, 4 layers of the 20b: a step of few tokens leaves most of a layer alone.
  const auto copies = rotating(expert_bytes * c_.num_experts / 1.5, [&](size_t i) {
    const HostLayer& from = layer(i);
    return Weights{
        backend_->pack_experts(from.gate_up_blocks, from.gate_up_scales, from.gate_up_bias, ExpertUse::kGateUp),
        backend_->pack_experts(from.down_blocks, from.down_scales, from.down_bias, ExpertUse::kDown)};
  });
  for (const int tokens : options_.tokens) {
    const Operand normed = operand(size_t(tokens) * c_.hidden, 1);
    float* x = floats(size_t(tokens) * c_.hidden, 1);
    const size_t pairs = size_t(tokens) * c_.experts_per_token;
    const std::vector<float> weight(pairs, 1.0f / float(c_.experts_per_token));
    // What is expected when all experts are equally likely.
    const double untouched = std::pow(1 - double(c_.experts_per_token) / c_.num_experts, tokens);
    const int distinct = int(std::lround(c_.num_experts * (1 - untouched)));
    std::vector<int32_t> deck(size_t(c_.num_experts));
    std::iota(deck.begin(), deck.end(), 0);
    std::ranges::shuffle(deck, random_);
    std::vector<std::vector<int32_t>> draws;
    while (draws.size() < 64) draws.push_back(draw_experts(tokens, deck, distinct));  // each meets all layers in turn
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
              const Weights& weights = copies[i % copies.size()];
              const std::vector<int32_t>& index = draws[i / copies.size() % draws.size()];
              backend_->experts(args, normed, index.data(), weight.data(), weights.gate_up, weights.down, x);
            });
  }
}

void Bench::head() {
  if (!wanted("linear head")) return;
  const double weights = double(c_.vocab) * c_.hidden, bytes = dense_bytes(weights);
  const auto copies = rotating(bytes, [&](size_t) { return backend_->pack_matrix(weights_.lm_head, MatrixUse::kProduct); });
  for (const int rows : options_.tokens) {
    if (rows > kMostSequences) continue;
    const Operand normed = operand(size_t(rows) * c_.hidden, 1);
    float* logits = floats(size_t(rows) * c_.vocab, 0);
    const LinearArgs args = {.rows = rows, .in = c_.hidden, .out = c_.vocab, .accumulate = 0, .precise = 1};
    measure({.kernel = "linear head", .tokens = rows, .on_bf16_unit = true, .bytes = bytes, .flops = 2 * weights * rows},
            [&](size_t i) {
              backend_->linear(args, RowsOf::kLogits, normed, copies[i % copies.size()], nullptr, logits);
            });
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

// --- the command line ----------------------------------------------------------------------------------------------------

std::vector<std::string> list(const std::string& text) {
  std::vector<std::string> out;
  for (size_t at = 0; at <= text.size();) {
    const size_t comma = std::min(text.find(',', at), text.size());
    out.push_back(text.substr(at, comma - at));
    at = comma + 1;
  }
  return out;
}

int count(const std::string& name, const std::string& text, int least) {
  char* end = nullptr;
  const long value = std::strtol(text.c_str(), &end, 10);
  if (text.empty() || *end != 0 || value < least || value > 1 << 20)
    throw Error(Code::kInvalidArgument, str("expected an integer >= ", least, " for ", name, " but received ", quote(text)));
  return int(value);
}

Options read_options(int argc, char** argv) {
  Options out;
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    const auto value = [&]() -> std::string {
      if (++i == argc) throw Error(Code::kInvalidArgument, str(name, " needs a value; see --help"));
      return argv[i];
    };
    const auto counts = [&](int least) {
      std::vector<int> all;
      for (const std::string& one : list(value())) all.push_back(count(name, one, least));
      return all;
    };
    if (name == "--shape") out.shape = value();
    else if (name == "--threads") out.threads = count(name, value(), 1);
    else if (name == "--numerics") out.numerics = list(value());
    else if (name == "--dense") out.dense = list(value());
    else if (name == "--tokens") out.tokens = counts(1);
    else if (name == "--context") out.contexts = counts(1);
    else if (name == "--only") out.only = list(value());
    else if (name == "--json") out.json = true;
    else if (name == "--help") out.help = true;
    else throw Error(Code::kInvalidArgument, str("unknown option ", quote(name), "; see --help"));
  }
  return out;
}

void measure_all(const Options& options, const std::string& numerics, const std::string& dense) {
  try {
    Bench bench(options, numerics, dense);
    bench.run();
  } catch (const Error& error) {
    if (error.code() != Code::kUnsupported) throw;
    std::fprintf(options.json ? stderr : stdout, "%s: not measured: %s\n", numerics.c_str(), error.what());
    if (options.json)
      std::printf("{\"measure\":\"refused\",\"numerics\":%s,\"message\":%s}\n", quote(numerics).c_str(),
                  quote(error.what()).c_str());
  }
}

int run(int argc, char** argv) {
  const Options options = read_options(argc, argv);
  if (options.help) {
    std::fputs(kHelp, stdout);
    return 0;
  }
  for (const std::string& dense : options.dense) {
    if (dense != "bf16" && dense != "q8")
      throw Error(Code::kInvalidArgument, str("expected bf16 or q8 for --dense but received ", quote(dense)));
    for (const std::string& numerics : options.numerics) measure_all(options, numerics, dense);
  }
  return 0;
}

}  // namespace
}  // namespace oss::bench

int main(int argc, char** argv) {
  try {
    return oss::bench::run(argc, argv);
  } catch (const oss::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return error.code() == oss::Code::kInvalidArgument || error.code() == oss::Code::kModelNotFound ? 2 : 1;
  }
}
