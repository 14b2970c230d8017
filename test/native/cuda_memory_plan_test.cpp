// The memory plan of a GPU without loading anything: the emulated device only reports its memory.
#include "native/backend/cuda/cuda_backend.h"
#include "native/backend/cuda/cuda_module.h"
#include "native/checkpoint/synthetic.h"
#include "native/engine/engine.h"
#include "native/engine/model_plan.h"
#include "test/emu/machine.h"
#include "test/native/check.h"

namespace oss {
namespace {

constexpr uint64_t kGB = 1'000'000'000;
constexpr int64_t kFullContext = 131072;

struct Planned {
  MemoryPlan plan;
  uint64_t file_bytes;
  uint64_t total() const { return plan.weights.copied + plan.workspace_bytes; }
  int64_t tokens() const { return int64_t(plan.kv.pages[kKvFull]) * kPageTokens; }
};

// The free memory of a card after the driver's share: an H100 of 80 GB has 85.0 GB, of which CUDA takes half a GB.
Planned plan(const char* model, uint64_t free_bytes, EngineOptions options = {}) {
  emu::set_machine({.memory_bytes = free_bytes});
  const auto checkpoint = synthetic_checkpoint(model);
  CudaBackend backend(*gptoss_cuda_module(), 0, options.repeatable);
  Planned planned{plan_memory({checkpoint->config, options, backend.sizes()}, backend.memory()),
                  checkpoint->file_bytes};
  emu::reset();
  return planned;
}

}  // namespace

TEST("memory_plan: an engine on a GPU takes what was planned from the config alone") {
  const cuda::Module& module = *gptoss_cuda_module();
  set_cuda_module_for_tests(&module);
  for (const bool repeatable : {false, true}) {
    for (const KvType type : {kKvBF16, kKvFP8}) {
      emu::set_machine({.memory_bytes = 900 << 20});
      EngineOptions options;
      options.backend = "cuda";
      options.max_sequences = 6;
      options.max_batch_tokens = 100;
      options.kv_type = type;
      options.repeatable = repeatable;
      const ModelPlan here = plan_model({.model = "synthetic:tiny", .options = options});
      CHECK_EQ(here.memory.free_bytes, uint64_t(900) << 20);
      CHECK_EQ(here.device.device, std::string("Emulated GPU"));
      const ModelPlan planned =
          plan_model({.model = "synthetic:tiny", .options = options, .memory_bytes = here.memory.free_bytes});
      CHECK_EQ(planned.wanted_bytes, here.wanted_bytes);
      CHECK_EQ(emu::bytes_in_use(), size_t(0));
      Engine engine("synthetic:tiny", options, [](const LoadProgress&) {}, nullptr);
      const EngineInfo& info = engine.info();
      CHECK_EQ(planned.needs.weights.copied, info.packed_bytes);
      CHECK_EQ(planned.file_bytes, info.weights_bytes);
      CHECK_EQ(planned.needs.workspace_bytes, info.workspace_bytes);
      CHECK_EQ(planned.kv_bytes, info.kv_bytes);
      CHECK_EQ(planned.kv->context_length, info.context_length);
      CHECK_EQ(int64_t(planned.kv->pages[kKvFull]) * kPageTokens, info.kv_tokens);
      const double all = double(info.packed_bytes + info.workspace_bytes + info.kv_bytes);
      CHECK(std::abs(double(emu::bytes_in_use()) - all) < 0.01 * all);
    }
  }
  set_cuda_module_for_tests(nullptr);
  emu::reset();
}

TEST("memory_plan: adapters of requests on a GPU take what is planned, to the byte") {
  set_cuda_module_for_tests(gptoss_cuda_module());
  emu::set_machine({.memory_bytes = 900 << 20});
  const std::string model = test::source_path("test/golden/models/a");
  const AdapterOption adapter{.name = "one", .path = test::source_path("test/golden/adapters/a.peft")};
  EngineOptions options;
  options.backend = "cuda";
  options.context_length = 512;
  options.max_sequences = 6;
  options.max_batch_tokens = 100;
  options.kv_bytes = 4 << 20;
  const auto nothing = [](const LoadProgress&) {};
  size_t plain = 0;
  {
    Engine engine(model, options, nothing, nullptr);
    plain = emu::bytes_in_use();
    const AdapterInfo one = engine.load_adapter(adapter);
    const size_t loaded = emu::bytes_in_use();
    engine.unload_adapter("one");
    CHECK_EQ(uint64_t(loaded - emu::bytes_in_use()), one.bytes);
    engine.load_adapter(adapter);
    CHECK_EQ(emu::bytes_in_use(), loaded);
  }
  const ModelPlan without = plan_model({.model = model, .options = options, .memory_bytes = 900 << 20});
  options.adapters = {adapter};
  const ModelPlan with = plan_model({.model = model, .options = options, .memory_bytes = 900 << 20});
  {
    Engine engine(model, options, nothing, nullptr);
    CHECK_EQ(engine.adapters().front().bytes, with.needs.adapter_bytes);
    CHECK_EQ(with.needs.packed_bytes(), engine.info().packed_bytes);
    CHECK_EQ(with.needs.workspace_bytes, engine.info().workspace_bytes);
    const uint64_t work = with.needs.workspace_bytes - without.needs.workspace_bytes;
    CHECK_EQ(uint64_t(emu::bytes_in_use() - plain), with.needs.adapter_bytes + work);
  }
  CHECK_EQ(emu::bytes_in_use(), size_t(0));

  // A cache that takes all that is left leaves nothing for adapters.
  emu::set_machine({.memory_bytes = 530 << 20});
  options.context_length = 0;
  options.max_sequences = 64;
  options.kv_bytes = 0;
  options.adapters = {};
  Engine full(model, options, nothing, nullptr);
  CHECK_THROWS(Code::kOutOfMemory, "unload one, or lower kvCache.bytes", full.load_adapter(adapter));
  full.close();
  set_cuda_module_for_tests(nullptr);
  emu::reset();
}

TEST("memory_plan: packed weights are within 1.5 % of the file, and no smaller") {
  for (const char* model : {"synthetic:120b", "synthetic:20b"}) {
    const Planned planned = plan(model, 140 * kGB);
    CHECK(double(planned.plan.weights.copied) < 1.015 * double(planned.file_bytes));
    CHECK(planned.plan.weights.copied > planned.file_bytes * 99 / 100);
  }
}

TEST("memory_plan: the 120b on a card of 80 GB has room for conversations of the full context") {
  EngineOptions options;
  const Planned bf16 = plan("synthetic:120b", 84'500'000'000, options);
  CHECK_EQ(bf16.plan.kv.context_length, kFullContext);
  CHECK_EQ(bf16.tokens(), 396'352);  // docs/gpu.md names both
  options.kv_type = kKvFP8;
  const Planned fp8 = plan("synthetic:120b", 84'500'000'000, options);
  CHECK_EQ(fp8.tokens(), 792'704);
  // Layers with a window keep only the tokens of windows and chunks.
  CHECK(fp8.plan.kv.pages[kKvWindow] < fp8.plan.kv.pages[kKvFull] / 2);
}

TEST("memory_plan: the 20b on a card of 16 GB, and the 120b on one that is too small") {
  EngineOptions options;
  options.max_sequences = 4;
  options.max_batch_tokens = 512;
  const Planned planned = plan("synthetic:20b", 15'800 * kGB / 1000, options);
  CHECK(planned.tokens() >= 32 * 1024);
  CHECK_THROWS(Code::kOutOfMemory, "65.32 GB for weights", plan("synthetic:120b", 48 * kGB));
  CHECK_THROWS(Code::kOutOfMemory, "48 GB free of 48 GB", plan("synthetic:120b", 48 * kGB));
}

TEST("memory_plan: a requested context that does not fit is refused; a default context is reduced") {
  EngineOptions options;
  options.max_sequences = 4;
  options.max_batch_tokens = 512;
  const Planned cut = plan("synthetic:20b", 15 * kGB, options);
  CHECK(cut.plan.kv.context_length < kFullContext);
  options.context_length = kFullContext;
  CHECK_THROWS(Code::kOutOfMemory, "131072 tokens", plan("synthetic:20b", 15 * kGB, options));
}

}  // namespace oss
