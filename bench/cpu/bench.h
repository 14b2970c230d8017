// One run of the bench: the shapes of one model, with one way to compute. Operations are in groups; the roofs are
// measured before and after each group. The results are a table or JSON lines.
#pragma once
#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "bench/cpu/roofs.h"
#include "kernels/common/q8.h"
#include "kernels/common/synthetic.h"
#include "native/backend/registry.h"
#include "native/base/str.h"
#include "native/checkpoint/synthetic.h"
#include "native/model/pack.h"

namespace oss::bench {

constexpr int kMostSequences = 32;

struct Options {
  std::string shape = "20b";
  int threads = 0;
  std::vector<std::string> numerics = {"exact", "fast"}, dense = {"bf16"}, only;
  std::vector<int> tokens = {1, 4, 8, 32, 128, 512}, contexts = {1024, 8192};
  bool json = false, help = false;
};

struct Row {
  std::string kernel;
  int tokens = 0, context = 0;  // 0: none
  bool on_bf16_unit = false;    // of numerics fast
  double bytes = 0, flops = 0;  // of one call: bytes that it reads for the first time, operations that the result needs
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
        tiny_(options.shape == "tiny"),
        // Larger than every last-level cache. `tiny` only checks that this program works.
        cold_bytes_(tiny_ ? size_t(1) << 20 : size_t(1) << 30),
        backend_(make()),
        info_(backend_->info()),
        meter_(info_.threads, cold_bytes_, tiny_ ? 2e-4 : 0.02) {}

  void run();

 private:
  std::unique_ptr<Backend> make() const {
    return make_cpu_backend(
        {.backend = "cpu", .threads = options_.threads, .numerics = numerics_, .dense_weights = dense_});
  }

  // A group of operations between two measurements of the roofs. It has a separate backend with separate weights.
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

  // Memory that is freed at the end of the group.
  void* allocate(size_t bytes) {
    buffers_.push_back(backend_->allocate(std::max<size_t>(bytes, 64), "the bench"));
    return buffers_.back().as<void>();
  }
  Operand operand(size_t elements, float scale) {
    Operand out{allocate(elements * backend_->sizes().operand_bytes())};
    if (backend_->sizes().operand_bytes() == sizeof(float)) fill(out.as<float>(), elements, scale);
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
  // Enough copies that no cache still holds a copy when it is used again.
  template <typename Make>
  auto rotating(double bytes, const Make& make) {
    constexpr double kMost = 4096;  // a process has a limited number of mappings
    std::vector<decltype(make(0))> copies;
    const auto count = size_t(std::clamp(std::ceil(double(cold_bytes_) / bytes), 1.0, kMost));
    while (copies.size() < count) copies.push_back(make(copies.size()));
    return copies;
  }
  // A model that has only the weights whose names start with `begin`.
  Model packed(const std::string& begin) {
    Model model;
    model.layers.resize(size_t(c_.num_layers));
    std::vector<WeightSpec> specs = weight_specs(c_);
    std::erase_if(specs, [&](const WeightSpec& spec) { return !spec.name.starts_with(begin); });
    pack_weights(specs, checkpoint_->tensors, backend_->packer(), model);
    return model;
  }
  // The weights of layer `i`, modulo the number of layers.
  Layer packed_layer(size_t i, const std::string& begin) {
    i %= size_t(c_.num_layers);
    return packed(str("model.layers.", i, ".", begin)).layers[i];
  }

  // A step of `sequences` sequences with `context` tokens each; the step computes the last `each` of them.
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

  // `call(i)` is the i-th call; i selects the rotating copy.
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

}  // namespace oss::bench
