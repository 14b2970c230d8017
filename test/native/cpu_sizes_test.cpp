// The work memory that is planned for a CPU is enough for every step, and not much more than the largest one takes.
#include "native/backend/cpu/cpu_sizes.h"

#include "kernels/cpu/dispatch.h"
#include "native/backend/cpu/cpu_backend.h"
#include "native/checkpoint/synthetic.h"
#include "native/model/forward.h"
#include "native/model/pack.h"
#include "native/model/step_limits.h"
#include "test/native/check.h"

namespace oss {
namespace {

constexpr int kTokens = 96, kRows = 64;

StepLimits limits_of(const Config& config, int max_pages) {
  return step_limits(config, {.tokens = kTokens, .sequences = 8, .rows = kRows, .max_pages = max_pages});
}

// The last `tokens` tokens of a sequence that fills `pages` pages.
struct OneSequence {
  OneSequence(const Config& c, int tokens, int pages)
      : ids(size_t(tokens), 7),
        sequence(size_t(tokens), 0),
        table(size_t(pages)),
        rope(size_t(tokens) * c.head_dim, 1) {
    for (int t = 0; t < tokens; ++t) positions.push_back(pages * kPageTokens - tokens + t);
    for (int t = 0; t < std::min(tokens, kRows); ++t) rows.push_back(t);
    for (int page = 0; page < pages; ++page) table[size_t(page)] = page;
  }
  Step step() const {
    return {.num_tokens = int(ids.size()),
            .num_sequences = 1,
            .num_rows = int(rows.size()),
            .tokens = ids,
            .positions = positions,
            .sequence = sequence,
            .block_tables = {table, table},
            .max_pages = int(table.size()),
            .rope = rope,
            .logit_tokens = rows,
            .adapters = adapters};
  }
  std::vector<int32_t> ids, positions, sequence, rows, table;
  std::vector<const AdapterWeights*> adapters;
  std::vector<float> rope;
};

void check(const cpu::Kernels& kernels, const cpu::Bf16Kernels* bf16, DenseWeights dense, ExpertWeights experts,
           int threads) {
  constexpr int kPages = 64;  // four chunks of attention
  const auto checkpoint = synthetic_checkpoint("synthetic:tiny", experts);
  const Config& config = checkpoint->config;
  CpuBackend backend(kernels, threads, bf16, dense, "", experts);
  const StepLimits limits = limits_of(config, kPages);
  const uint64_t planned = backend.sizes().workspace_bytes(limits);
  const Model model = pack_model(config, checkpoint->tensors, backend.packer(), [](size_t, size_t) {});
  Forward forward(model, backend, limits, nullptr);
  const KvStorage kv(config, backend, kKvBF16, {kPages, kPages});
  for (const int tokens : {1, kTokens, 2, 17}) CHECK(forward.run(OneSequence(config, tokens, kPages).step(), kv, {}));
  const std::string what = str(bf16 != nullptr ? bf16->isa : kernels.isa, ", ", threads, " threads",
                               experts == ExpertWeights::kBF16 ? ", experts in bf16" : "");
  const uint64_t taken = backend.work_bytes();
  if (taken > planned || 4 * taken < planned) {
    test::fail(__FILE__, __LINE__, str(what, ": planned ", planned, ", taken ", taken));
  }
}

// An adapter of zeros that changes every matrix, with the greatest rank.
struct WidestAdapter {
  explicit WidestAdapter(const Config& c) {
    const int hidden = c.hidden, inner = c.intermediate;
    const auto experts = [&](int in, int out) { return std::vector<LowRank>(size_t(c.num_experts), term(in, out)); };
    for (int layer = 0; layer < c.num_layers; ++layer) {
      weights.layers.push_back({.q = term(hidden, c.q_size()),
                                .k = term(hidden, c.kv_size()),
                                .v = term(hidden, c.kv_size()),
                                .o = term(c.q_size(), hidden),
                                .router = term(hidden, c.num_experts),
                                .gate_up = experts(hidden, 2 * inner),
                                .down = experts(inner, hidden)});
    }
    weights.lm_head = term(hidden, c.vocab);
  }
  AdapterWeights weights;

 private:
  LowRank term(int in, int out) {
    const size_t elements = size_t(std::max(in, out)) * kMostRank;
    return {.a = {.data = zeros.emplace_back(elements).data(), .rows = kMostRank, .cols = in},
            .b = {.data = zeros.emplace_back(elements).data(), .rows = out, .cols = kMostRank},
            .scale = 1};
  }
  std::vector<std::vector<uint16_t>> zeros;
};

void check_low_rank(const cpu::Kernels& kernels, const cpu::Bf16Kernels* bf16, ExpertWeights experts) {
  constexpr int kPages = 8;
  const auto checkpoint = synthetic_checkpoint("synthetic:tiny", experts);
  const Config& config = checkpoint->config;
  CpuBackend backend(kernels, 2, bf16, DenseWeights::kBF16, "", experts);
  const StepLimits limits = limits_of(config, kPages);
  const Model model = pack_model(config, checkpoint->tensors, backend.packer(), [](size_t, size_t) {});
  Forward forward(model, backend, limits, nullptr);
  const KvStorage kv(config, backend, kKvBF16, {kPages, kPages});
  const WidestAdapter adapter(config);
  OneSequence sequence(config, kTokens, kPages);
  sequence.adapters.assign(kTokens, &adapter.weights);
  CHECK(forward.run(sequence.step(), kv, {}));
  CHECK_EQ(uint64_t(backend.low_rank_work_bytes()), backend.sizes().low_rank_bytes(limits));
  CHECK(backend.work_bytes() <= backend.sizes().workspace_bytes(limits));
}

}  // namespace

TEST("cpu_sizes: adapters take the work memory that is planned for them") {
  for (const ExpertWeights experts : {ExpertWeights::kMXFP4, ExpertWeights::kBF16}) {
    for (const cpu::Kernels* kernels : cpu::available_kernels()) check_low_rank(*kernels, nullptr, experts);
    for (const cpu::Bf16Kernels* bf16 : cpu::available_bf16_kernels()) {
      check_low_rank(*cpu::available_kernels().front(), bf16, experts);
    }
  }
}

TEST("cpu_sizes: work memory is enough for every step, and at most four times what is taken") {
  for (const int threads : {1, 3}) {
    const auto check_all = [&](DenseWeights dense, ExpertWeights experts) {
      for (const cpu::Kernels* kernels : cpu::available_kernels()) check(*kernels, nullptr, dense, experts, threads);
      for (const cpu::Bf16Kernels* bf16 : cpu::available_bf16_kernels()) {
        check(*cpu::available_kernels().front(), bf16, dense, experts, threads);
      }
    };
    check_all(DenseWeights::kBF16, ExpertWeights::kMXFP4);
    check_all(DenseWeights::kQ8, ExpertWeights::kMXFP4);
    check_all(DenseWeights::kBF16, ExpertWeights::kBF16);
    check_all(DenseWeights::kQ8, ExpertWeights::kBF16);
  }
}

TEST("cpu_sizes: units take no more for themselves than plans assume") {
  for (const cpu::Bf16Kernels* bf16 : cpu::available_bf16_kernels()) {
    for (const int cols : {1, 32, 33, 64, 2880, 4096}) {
      CHECK(bf16->packed_work_elements(cols) <= cpu::most_packed_work_elements(cols));
    }
  }
}

TEST("cpu_sizes: more threads take more, up to 1.6 GB for the 20b on 64 of them") {
  const Config config = synthetic_checkpoint("synthetic:20b")->config;
  StepLimits limits = limits_of(config, 131072 / kPageTokens);
  limits.tokens = 512;
  for (const cpu::IsaStatus& isa : cpu::isa_status()) {
    uint64_t before = 0;
    for (const int threads : {1, 2, 8, 64}) {
      const uint64_t bytes = CpuSizes(isa.bf16, DenseWeights::kBF16, threads).workspace_bytes(limits);
      CHECK(bytes > before);
      before = bytes;
    }
    CHECK(before < 1'600'000'000);
  }
}

}  // namespace oss
