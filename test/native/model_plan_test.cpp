// Plans from a config alone, for machines that are elsewhere. test/lib/plan compares them with engines.
#include "native/engine/model_plan.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "kernels/cpu/dispatch.h"
#include "native/checkpoint/checkpoint.h"
#include "test/native/check.h"

namespace oss {
namespace {

constexpr uint64_t kGB = 1'000'000'000;

ModelPlan plan(const std::string& model, const std::string& backend, uint64_t memory, EngineOptions options = {},
               const std::string& isa = "") {
  options.backend = backend;
  return plan_model({.model = model, .options = options, .isa = isa, .memory_bytes = memory});
}

const KvCapacity& of_type(const ModelPlan& plan, KvType type) {
  for (const KvCapacity& capacity : plan.capacities) {
    if (capacity.type == type) return capacity;
  }
  throw Error(Code::kInternal, "no such type");
}

// A folder with the config of a golden model, and no weights.
struct ConfigOnly {
  explicit ConfigOnly(const std::string& text) {
    std::filesystem::create_directories(folder);
    std::ofstream(folder / "config.json") << text;
  }
  ~ConfigOnly() { std::filesystem::remove_all(folder); }
  const std::filesystem::path folder =
      std::filesystem::temp_directory_path() / ("oss-plan-" + std::to_string(::getpid()));
};

}  // namespace

TEST("model_plan: more memory never has room for fewer conversations, and longer ones are fewer") {
  for (const char* backend : {"cpu", "cuda"}) {
    std::vector<KvCapacity> before;
    bool fitted = false;
    for (uint64_t memory = 12 * kGB; memory < 40 * kGB; memory += 777'777'777) {
      const ModelPlan now = plan("synthetic:20b", backend, memory);
      CHECK(now.fits || !fitted);
      fitted = now.fits;
      for (size_t i = 0; i < now.capacities.size(); ++i) {
        const std::vector<int>& counts = now.capacities[i].conversations;
        CHECK(std::is_sorted(counts.rbegin(), counts.rend()));
        if (before.empty()) continue;
        CHECK(now.capacities[i].longest_context >= before[i].longest_context);
        for (size_t c = 0; c < counts.size(); ++c) CHECK(counts[c] >= before[i].conversations[c]);
      }
      before = now.capacities;
    }
    CHECK(fitted);
  }
}

TEST("model_plan: an engine refuses one conversation more than fits, and takes what fits") {
  // Without weights to load: the plan of an engine with exactly these sequences and this cache.
  const uint64_t memory = 30 * kGB;
  const ModelPlan planned = plan("synthetic:20b", "cuda", memory);
  for (const KvType type : {kKvBF16, kKvFP8}) {
    const KvCapacity& capacity = of_type(planned, type);
    for (size_t i = 0; i < planned.contexts.size(); ++i) {
      for (const int count : {capacity.conversations[i], capacity.conversations[i] + 1}) {
        PlanQuery query{.model = "synthetic:20b",
                        .options = {.backend = "cuda", .context_length = planned.contexts[i]},
                        .memory_bytes = memory,
                        .wanted_context = planned.contexts[i],
                        .wanted_conversations = count};
        query.options.max_sequences = std::max(64, count);
        query.options.kv_type = type;
        CHECK_EQ(plan_model(query).fits, count == capacity.conversations[i]);
      }
    }
  }
}

TEST("model_plan: the least memory that fits is what it says") {
  for (const char* backend : {"cpu", "cuda"}) {
    const uint64_t needed = plan("synthetic:20b", backend, kGB).wanted_bytes;
    CHECK(!plan("synthetic:20b", backend, needed - 1).fits);
    CHECK(plan("synthetic:20b", backend, needed).fits);
  }
}

TEST("model_plan: a CPU that this machine does not have") {
  for (const cpu::IsaStatus& isa : cpu::isa_status()) {
    const ModelPlan planned = plan("synthetic:20b", "cpu", 32 * kGB, {}, isa.isa);
    const bool has_strips = isa.bf16 != nullptr && isa.bf16->strips;
    CHECK_EQ(planned.experts_in_file, has_strips);
    CHECK_EQ(planned.device.isa, std::string(isa.isa));
    CHECK_EQ(planned.needs.limits.tokens, isa.bf16 != nullptr ? 512 : 256);
    CHECK(planned.needs.weights.mapped > planned.needs.weights.canonical * 99 / 100);
    // In memory, experts are copies, as many bytes as in the files.
    EngineOptions options;
    options.packed_weights = "memory";
    const WeightBytes in_memory = plan("synthetic:20b", "cpu", 32 * kGB, options, isa.isa).needs.weights;
    const WeightBytes& in_file = planned.needs.weights;
    CHECK_EQ(in_memory.mapped + in_memory.copied, in_file.mapped + in_file.copied);
    CHECK_EQ(in_memory.copied > in_memory.canonical / 2, has_strips);
    options.dense_weights = DenseWeights::kQ8;
    const WeightBytes q8 = plan("synthetic:20b", "cpu", 32 * kGB, options, isa.isa).needs.weights;
    const uint64_t dense = 2 * 2880 * (2ull * 201'088 + 24ull * (4096 + 2 * 512 + 4096));
    CHECK_EQ(in_memory.mapped + in_memory.copied - q8.mapped - q8.copied, dense / 64 * 30);
  }
}

TEST("model_plan: on Metal, copies in Q8 take the place of matrices in the file") {
  const EngineOptions q8 = {.dense_weights = DenseWeights::kQ8};
  const WeightBytes plain = plan("synthetic:20b", "metal", 32 * kGB).needs.weights;
  const WeightBytes copies = plan("synthetic:20b", "metal", 32 * kGB, q8).needs.weights;
  CHECK(copies.q8 && !plain.q8);
  const uint64_t dense = 2 * 2880 * (2ull * 201'088 + 24ull * (4096 + 2 * 512 + 4096));
  CHECK_EQ(plain.mapped - copies.mapped, dense);
  CHECK_EQ(copies.copied - plain.copied, dense / 64 * 34);
}

TEST("model_plan: a config needs no weights beside it") {
  const std::string golden = test::source_path("test/golden/models/a");
  std::ifstream file(golden + "/config.json");
  const std::string text(std::istreambuf_iterator<char>(file), {});
  const ConfigOnly alone(text);
  EngineOptions options;
  const ModelPlan planned = plan(alone.folder.string(), "cpu", kGB, options);
  CHECK_EQ(planned.needs.weights.copied, plan(golden, "cpu", kGB, options).needs.weights.copied);
  CHECK_EQ(planned.config.vocab, open_checkpoint(golden)->config.vocab);
  options.context_length = planned.config.max_context + 1;
  CHECK_THROWS(Code::kInvalidArgument, "is more than the model's", plan(alone.folder.string(), "cpu", kGB, options));
  // A short model has its own length as the only one.
  CHECK_EQ(planned.contexts.back(), planned.config.max_context);
  CHECK(planned.fits);
}

TEST("model_plan: experts in bf16 are copies on every CPU, also of a config alone") {
  EngineOptions options;
  options.expert_weights = ExpertWeights::kBF16;
  const uint64_t experts = 24ull * 32 * 3 * 2880 * 2880 * 2;
  for (const cpu::IsaStatus& isa : cpu::isa_status()) {
    const ModelPlan mxfp4 = plan("synthetic:20b", "cpu", 64 * kGB, {}, isa.isa);
    const ModelPlan bf16 = plan("synthetic:20b", "cpu", 64 * kGB, options, isa.isa);
    CHECK(!bf16.experts_in_file);
    CHECK_EQ(bf16.needs.weights.copied, mxfp4.needs.weights.copied + experts);
    CHECK_EQ(bf16.file_bytes, mxfp4.file_bytes + experts / 64 * 47);
  }
  std::ifstream file(test::source_path("test/golden/models/a/config.json"));
  const std::string text(std::istreambuf_iterator<char>(file), {});
  const ConfigOnly alone(text);
  const uint64_t of_a = 4ull * 8 * 3 * 96 * 96 * 2;
  CHECK_EQ(plan(alone.folder.string(), "cpu", kGB, options, "scalar").needs.weights.copied,
           plan(alone.folder.string(), "cpu", kGB, {}, "scalar").needs.weights.copied + of_a);
}

TEST("model_plan: what cannot be planned is refused by name") {
  EngineOptions options;
  options.kv_type = kKvFP8;
  CHECK_THROWS(Code::kUnsupported, "needs a GPU", plan("synthetic:20b", "cpu", kGB, options));
  options.kv_type = kKvF32;
  CHECK_THROWS(Code::kUnsupported, "no \"f32\" KV cache", plan("synthetic:20b", "cuda", kGB, options));
  options = {.dense_weights = DenseWeights::kQ8};
  CHECK_THROWS(Code::kUnsupported, "is for the CPU and Metal", plan("synthetic:20b", "cuda", kGB, options));
  options = {.expert_weights = ExpertWeights::kBF16};
  CHECK_THROWS(Code::kUnsupported, "use \"mxfp4\" on a GPU, or backend \"cpu\"",
               plan("synthetic:20b", "cuda", kGB, options));
  CHECK_THROWS(Code::kUnsupported, "expertWeights \"bf16\" keeps experts that are stored as BF16",
               plan(test::source_path("test/golden/models/a"), "cpu", kGB, options));
  options = {.numerics = "exact"};
  CHECK_THROWS(Code::kUnsupported, "is not what GPUs compute", plan("synthetic:20b", "cuda", kGB, options));
  options = {.numerics = "fast"};
  CHECK_THROWS(Code::kUnsupported, "scalar has \"exact\"", plan("synthetic:20b", "cpu", kGB, options, "scalar"));
  CHECK_THROWS(Code::kInvalidArgument, "for isa but received \"mmx\"", plan("synthetic:20b", "cpu", kGB, {}, "mmx"));
  CHECK_THROWS(Code::kInvalidArgument, "is of a CPU", plan("synthetic:20b", "cuda", kGB, {}, "scalar"));
  CHECK_THROWS(Code::kUnsupported, "received \"vulkan\"", plan("synthetic:20b", "vulkan", kGB));
  CHECK_THROWS(Code::kModelNotFound, "found nothing", plan("/no/such/model", "cpu", kGB));
  const ConfigOnly other(R"({"model_type": "llama"})");
  CHECK_THROWS(Code::kUnsupported, "not a gpt-oss model", plan(other.folder.string(), "cpu", kGB));
}

}  // namespace oss
