// The memory plan of a machine without a GPU, without loading anything.
#include "native/engine/memory_plan.h"

#include "kernels/cpu/dispatch.h"
#include "native/adapters/merge.h"
#include "native/backend/cpu/cpu_backend.h"
#include "native/base/str.h"
#include "native/checkpoint/checkpoint.h"
#include "native/checkpoint/synthetic.h"
#include "native/model/pack.h"
#include "test/native/check.h"

namespace oss {

TEST("memory_plan: more than the machine's memory is refused, whichever option needs it") {
  CpuBackend backend(*cpu::available_kernels().front(), 2, nullptr, DenseWeights::kBF16);
  const Config config = synthetic_checkpoint("synthetic:tiny")->config;
  EngineOptions options;
  options.kv_bytes = uint64_t(1) << 50;
  CHECK_THROWS(Code::kOutOfMemory, "kvCache.bytes asks for 1125899.9 GB, and free is",
               plan_memory({config, options, backend.sizes()}, backend.memory()));
  options.kv_bytes = 16u << 20;
  options.max_batch_tokens = 1 << 30;
  CHECK_THROWS(Code::kOutOfMemory, "for activations, and free is",
               plan_memory({config, options, backend.sizes()}, backend.memory()));
}

TEST("memory_plan: the size of copies in Q8 is known before they are made") {
  CpuBackend backend(*cpu::available_kernels().front(), 2, nullptr, DenseWeights::kQ8);
  const auto checkpoint = open_checkpoint(test::source_path("test/golden/models/a"));
  const Config config = checkpoint->config;
  const uint64_t planned = weight_bytes(config, backend.sizes(), false).copied;
  CHECK_EQ(memory_needs({config, {}, backend.sizes()}).weights.copied, planned);
  CHECK(planned > uint64_t(config.vocab) * config.hidden * 2);  // embedding and head, at more than a byte
  pack_model(config, checkpoint->tensors, backend.packer(), [](size_t, size_t) {});
  CHECK_EQ(uint64_t(backend.packer().packed_bytes()), planned);
}

// The plan of each layout is what a CPU packs, on every instruction set.
static void check_packed(const std::string& what, const Checkpoint& checkpoint, DenseWeights dense,
                         ExpertWeights experts = ExpertWeights::kMXFP4) {
  const auto check = [&](const cpu::Kernels& kernels, const cpu::Bf16Kernels* bf16) {
    CpuBackend backend(kernels, 2, bf16, dense, "", experts);
    EngineOptions options;
    options.expert_weights = experts;
    const uint64_t planned =
        memory_needs(
            {.config = checkpoint.config, .options = options, .sizes = backend.sizes(), .tensors = &checkpoint.tensors})
            .weights.copied;
    pack_model(checkpoint.config, checkpoint.tensors, backend.packer(), [](size_t, size_t) {});
    if (planned != backend.packer().packed_bytes())
      test::fail(__FILE__, __LINE__,
                 str(what, " on ", bf16 != nullptr ? bf16->isa : kernels.isa, ": planned ", planned, ", packed ",
                     backend.packer().packed_bytes()));
  };
  for (const cpu::Kernels* kernels : cpu::available_kernels()) check(*kernels, nullptr);
  for (const cpu::Bf16Kernels* bf16 : cpu::available_bf16_kernels()) check(*cpu::available_kernels().front(), bf16);
}

TEST("memory_plan: merged adapters make copies, which are planned") {
  const auto checkpoint = open_checkpoint(test::source_path("test/golden/models/c"));
  const auto plain = open_checkpoint(test::source_path("test/golden/models/c"));
  const auto adapter = read_adapter(test::source_path("test/golden/adapters/c.unsloth"), 1, checkpoint->config);
  merge_adapter(adapter, checkpoint->tensors, {}, MeasureMerge::kNothing);
  for (const DenseWeights dense : {DenseWeights::kBF16, DenseWeights::kQ8}) {
    check_packed("as it is", *plain, dense);
    check_packed("merged", *checkpoint, dense);
  }
  const CpuSizes sizes(nullptr, DenseWeights::kBF16, 1);
  const WeightBytes before = weight_bytes(checkpoint->config, sizes, false);
  const WeightBytes after = weight_bytes(checkpoint->config, sizes, false, &checkpoint->tensors);
  CHECK(after.copied > before.copied && after.mapped < before.mapped);
  CHECK_EQ(after.copied - before.copied, before.mapped - after.mapped);
}

TEST("memory_plan: experts in bf16 are copies where they are made, and are mapped where a file has them") {
  const auto checkpoint = synthetic_checkpoint("synthetic:tiny", ExpertWeights::kBF16);
  const CpuSizes sizes(nullptr, DenseWeights::kBF16, 1, ExpertWeights::kBF16);
  const auto bytes_with = [&](const Tensors* tensors) {
    return weight_bytes(checkpoint->config, sizes, false, tensors, ExpertWeights::kBF16);
  };
  const uint64_t experts = 2 * 8 * 3 * 64 * 64 * 2;  // layers, experts, matrices, bytes
  const WeightBytes mxfp4 = weight_bytes(checkpoint->config, sizes, false);
  const WeightBytes made = bytes_with(&checkpoint->tensors), unknown = bytes_with(nullptr);
  CHECK_EQ(made.copied, mxfp4.copied + experts);
  CHECK_EQ(made.canonical, mxfp4.canonical - experts * 17 / 64 + experts);
  CHECK_EQ(unknown.copied, made.copied);
  Tensors in_file = checkpoint->tensors;
  for (auto& [name, tensor] : in_file) tensor.synthetic.reset();
  CHECK_EQ(bytes_with(&in_file).copied, mxfp4.copied);
  CHECK_EQ(bytes_with(&in_file).mapped, made.mapped + experts);
  for (const DenseWeights dense : {DenseWeights::kBF16, DenseWeights::kQ8}) {
    check_packed("experts in bf16", *checkpoint, dense, ExpertWeights::kBF16);
  }
}

TEST("memory_plan: copies of experts in bf16 that do not fit are refused, with what takes less") {
  const auto checkpoint = synthetic_checkpoint("synthetic:20b", ExpertWeights::kBF16);
  const CpuSizes sizes(nullptr, DenseWeights::kBF16, 1, ExpertWeights::kBF16);
  EngineOptions options;
  options.expert_weights = ExpertWeights::kBF16;
  const PlanInputs inputs{.config = checkpoint->config, .options = options, .sizes = sizes};
  // 24 layers, 32 experts, 3 matrices of 2880 · 2880, 2 bytes; norms and biases in float32.
  CHECK_THROWS(Code::kOutOfMemory, "copies of weights take 38.24 GB",
               plan_memory(inputs, {.free_bytes = 32'000'000'000, .why = "given"}));
  CHECK_THROWS(Code::kOutOfMemory, "or use expertWeights \"mxfp4\", which takes a quarter of the memory",
               plan_memory(inputs, {.free_bytes = 32'000'000'000, .why = "given"}));
}

TEST("memory_plan: copies of weights that do not fit are refused") {
  CpuBackend backend(*cpu::available_kernels().front(), 2, nullptr, DenseWeights::kQ8);
  const auto checkpoint = synthetic_checkpoint("synthetic:20b");
  const EngineOptions options;
  const PlanInputs inputs{.config = checkpoint->config, .options = options, .sizes = backend.sizes()};
  const MemoryNeeds needs = memory_needs(inputs);
  const uint64_t least = needs.packed_bytes() + needs.workspace_bytes;
  CHECK_THROWS(Code::kOutOfMemory, "copies of weights take 1.93 GB, adapters 0 GB",
               plan_memory(inputs, {.free_bytes = least - 1, .why = "given"}));
}

TEST("memory_plan: adapters of requests count, and so does the work memory of their terms") {
  const Config config = synthetic_checkpoint("synthetic:20b")->config;
  const CpuSizes sizes(nullptr, DenseWeights::kBF16, 1);
  const EngineOptions options;
  const MemoryNeeds without = memory_needs({.config = config, .options = options, .sizes = sizes});
  const MemoryNeeds with =
      memory_needs({.config = config, .options = options, .sizes = sizes, .adapter_bytes = 350'000'000});
  const uint64_t work = sizes.low_rank_bytes(with.limits);
  CHECK(work > 40'000'000 && work < 60'000'000);  // 1024 pairs of token and expert
  CHECK_EQ(with.bytes(), without.bytes() + 350'000'000 + work);

  // What more can be loaded later: all that nothing else of the plan takes, whether adapters were planned or not.
  const DeviceMemory memory{.free_bytes = 32'000'000'000, .why = "given"};
  const auto most = [&](uint64_t adapter_bytes) {
    const PlanInputs inputs{.config = config, .options = options, .sizes = sizes, .adapter_bytes = adapter_bytes};
    return most_adapter_bytes(inputs, plan_memory(inputs, memory), 1'000'000'000);
  };
  CHECK_EQ(most(0), most(350'000'000));
  CHECK_EQ(most(0), memory.free_bytes - without.weights.copied - without.workspace_bytes - work -
                        without.reserved_bytes - 1'000'000'000);
}

}  // namespace oss
