// A small model on a GPU backend, and adapters for it: for tests below the forward pass.
#pragma once
#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "native/checkpoint/checkpoint.h"
#include "native/model/forward.h"
#include "native/model/pack.h"
#include "native/model/step_limits.h"
#include "test/kernels/support.h"
#include "test/native/check.h"

namespace oss::test {

constexpr int kMostTokens = 64;

inline StepLimits limits_of(const Config& config) {
  return step_limits(config, {.tokens = kMostTokens, .sequences = kMostTokens, .rows = kMostTokens, .max_pages = 1});
}

// A loaded model, and a step of the first tokens of `sequences` sequences.
template <typename GpuBackend>
class ModelOn {
 public:
  template <typename... Arguments>
  explicit ModelOn(Arguments&&... of_backend) : backend(std::forward<Arguments>(of_backend)...) {
    const auto checkpoint = open_checkpoint("synthetic:tiny");
    const Config& config = checkpoint->config;
    backend.packer().reserve_weights(weight_bytes(config, backend.sizes(), false).copied);
    backend.reserve_workspace(limits_of(config));
    model = pack_model(config, checkpoint->tensors, backend.packer(), [](size_t, size_t) {});
  }

  Step step(int tokens) {
    const int head_dim = model.config.head_dim;
    tokens_.assign(size_t(tokens), 7);
    positions_.assign(size_t(tokens), 0);
    rope_.assign(size_t(tokens) * head_dim, 0);
    rows_.clear();
    for (int t = 0; t < tokens; ++t) {
      rows_.push_back(t);
      std::fill_n(rope_.begin() + ptrdiff_t(t) * head_dim, head_dim / 2, 1.0f);
    }
    return {.num_tokens = tokens,
            .num_sequences = tokens,
            .num_rows = tokens,
            .tokens = tokens_,
            .positions = positions_,
            .sequence = rows_,
            .block_tables = {rows_, rows_},
            .max_pages = 1,
            .rope = rope_,
            .logit_tokens = rows_,
            .adapters = {}};
  }

  float* floats(size_t count) {
    buffers_.push_back(backend.allocate(count * sizeof(float), "a test"));
    return buffers_.back().template as<float>();
  }
  float* floats(const std::vector<float>& values) {
    float* at = floats(values.size());
    backend.write(values, at);
    return at;
  }
  std::vector<float> read(const float* from, size_t count) {
    std::vector<float> values(count);
    backend.read(from, values);
    return values;
  }

  GpuBackend backend;
  Model model;

 private:
  std::vector<int32_t> tokens_, positions_, rows_;
  std::vector<float> rope_;
  std::vector<Buffer> buffers_;
};

// Random factors for an adapter in host memory: of attention alone, or of every matrix.
struct HostAdapter {
  HostAdapter(const Config& c, int rank, bool all, uint32_t seed) : seed_(seed) {
    for (int layer = 0; layer < c.num_layers; ++layer) {
      LayerAdapter& of = weights.layers.emplace_back();
      of.q = term(c.hidden, c.q_size(), rank);
      of.k = term(c.hidden, c.kv_size(), rank + 1);
      of.v = term(c.hidden, c.kv_size(), rank);
      of.o = term(c.q_size(), c.hidden, rank);
      if (!all) continue;
      of.router = term(c.hidden, c.num_experts, rank);
      for (int e = 0; e < c.num_experts; ++e) {
        of.gate_up.push_back(e % 2 == 0 ? term(c.hidden, 2 * c.intermediate, rank) : LowRank{});
        of.down.push_back(term(c.intermediate, c.hidden, rank + 2));
      }
    }
    if (all) weights.lm_head = term(c.hidden, c.vocab, rank);
  }
  // Takes it to the device; the host's memory can go.
  std::shared_ptr<const AdapterWeights> on(Backend& backend) const {
    return backend.hold_adapter(std::make_shared<AdapterWeights>(weights));
  }

  AdapterWeights weights;
  uint64_t bytes = 0;  // of the factors

 private:
  Matrix matrix(int rows, int cols) {
    bytes += uint64_t(rows) * cols * 2;
    const std::vector<uint16_t>& values = factors_.emplace_back(random_bf16(size_t(rows) * cols, ++seed_, 0.1f));
    return {.data = values.data(), .rows = rows, .cols = cols};
  }
  LowRank term(int in, int out, int rank) {
    const Matrix a = matrix(rank, in), b = matrix(out, rank);
    return {.a = a, .b = b, .scale = 0.5f};
  }
  std::vector<std::vector<uint16_t>> factors_;
  uint32_t seed_;
};

// A forward pass with adapters.
template <typename OnDevice>
struct Adapted {
  explicit Adapted(OnDevice& on_device)
      : on(on_device),
        forward(on.model, on.backend, limits_of(on.model.config), nullptr),
        kv(on.model.config, on.backend, kKvBF16, {kMostTokens, kMostTokens}) {}

  // Token t has adapters[t].
  void run(const std::vector<const AdapterWeights*>& adapters) {
    Step step = on.step(int(adapters.size()));
    const bool any = std::ranges::any_of(adapters, [](const AdapterWeights* adapter) { return adapter != nullptr; });
    if (any) step.adapters = adapters;
    CHECK(forward.run(step, kv, {}));
  }
  // The logits of each token.
  std::vector<std::vector<float>> logits(const std::vector<const AdapterWeights*>& adapters) {
    run(adapters);
    return read(adapters.size());
  }
  std::vector<std::vector<float>> read(size_t rows) {
    const size_t vocab = size_t(on.model.config.vocab);
    const std::vector<float> all = on.read(forward.logits(), rows * vocab);
    std::vector<std::vector<float>> out;
    for (size_t r = 0; r < rows; ++r)
      out.emplace_back(all.begin() + ptrdiff_t(r * vocab), all.begin() + ptrdiff_t((r + 1) * vocab));
    return out;
  }

  OnDevice& on;
  Forward forward;
  KvStorage kv;
};

}  // namespace oss::test
