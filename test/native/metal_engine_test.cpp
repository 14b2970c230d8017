// What only the Metal backend does: its refusals, the failures of its device, and barriers between dispatches.
// gpu_engine_test.cpp has what it shares with CUDA.
#include <algorithm>

#include "test/emu/metal/device.h"
#include "test/native/engine_harness.h"

namespace oss {
namespace {

using namespace test;

EngineOptions metal_options() {
  EngineOptions options;
  options.backend = "metal";
  options.context_length = 512;
  options.max_sequences = 4;
  options.max_batch_tokens = 64;
  options.kv_bytes = 4 << 20;
  return options;
}

// A machine with a GPU, until the test ends.
class WithGpu {
 public:
  explicit WithGpu(const std::function<void(emu::MetalMachine&)>& change = [](auto&) {}) {
    emu::MetalMachine machine{.present = true};
    change(machine);
    emu::set_metal_machine(machine);
  }
  ~WithGpu() { emu::set_metal_machine({}); }
};

void check_nothing_left() {
  CHECK_EQ(emu::metal_bytes_in_use(), size_t(0));
  CHECK_EQ(emu::metal_bytes_wrapped(), size_t(0));
}

}  // namespace

TEST("metal engine: a dispatch that fails in a step ends the engine with DEVICE; the next engine works") {
  const WithGpu gpu;
  {
    Harness harness(metal_options());
    harness.submit(request(1, prompt_of(1, 30), 5));
    harness.wait_for_ends(1);
    emu::fail_metal_dispatch(7);
    for (int i = 2; i < 5; ++i) harness.submit(request(uint64_t(i), prompt_of(i, 30), 5));
    harness.wait_for_ends(4);
    for (uint64_t i = 2; i < 5; ++i) {
      CHECK(harness.outcomes[i].failed);
      CHECK(harness.outcomes[i].code == Code::kDevice);
    }
    CHECK_THROWS(Code::kClosed, "the GPU failed", harness.submit(request(9, prompt_of(1, 3), 1)));
  }
  check_nothing_left();
  Harness after(metal_options());
  after.submit(request(1, prompt_of(1, 30), 5));
  after.wait_for_ends(1);
  CHECK_EQ(after.outcomes[1].tokens.size(), size_t(5));
}

// Each barrier of a step is left out in turn; the device finds each.
TEST("metal engine: no barrier of a step can be left out") {
  const WithGpu gpu;
  for (int missing = 1; missing <= 12; ++missing) {
    Harness harness(metal_options());
    emu::drop_metal_barrier(missing);
    harness.submit(request(1, prompt_of(1, 3), 1));
    harness.wait_for_ends(1);
    if (!harness.outcomes[1].failed || harness.outcomes[1].message.find("a barrier is missing") == std::string::npos)
      fail(__FILE__, __LINE__, str("barrier ", missing, ": ", harness.outcomes[1].message));
  }
}

TEST("metal engine: what this machine or backend does not have is refused, with the reason") {
  {
    const WithGpu none([](emu::MetalMachine& machine) { machine.present = false; });
    CHECK_THROWS(Code::kUnsupported, "no Metal GPU is emulated", Harness{metal_options()});
  }
  const WithGpu gpu;
  EngineOptions options = metal_options();
  options.kv_type = kKvF32;
  CHECK_THROWS(Code::kUnsupported, "\"bf16\" or \"fp8\"", Harness{options});
  options = metal_options();
  options.numerics = "exact";
  CHECK_THROWS(Code::kUnsupported, "numerics \"exact\"", Harness{options});
  options = metal_options();
  options.dense_weights = DenseWeights::kQ8;
  CHECK_THROWS(Code::kUnsupported, "denseWeights \"q8\"", Harness{options});
  options = metal_options();
  options.expert_weights = ExpertWeights::kBF16;
  CHECK_THROWS(Code::kUnsupported, "expertWeights \"bf16\"", Harness{options});
  options = metal_options();
  options.adapters = {{.name = "one", .path = source_path("test/golden/adapters/a.peft")}};
  CHECK_THROWS(Code::kUnsupported, "no adapters for single requests", Harness{options});
  check_nothing_left();
}

TEST("metal engine: a working set that is too small is refused with the numbers and the remedy") {
  const WithGpu gpu([](emu::MetalMachine& machine) {
    machine.limits.working_set_bytes = 400 << 20;
    machine.limits.memory_bytes = uint64_t(16) << 30;
  });
  CHECK_THROWS(Code::kOutOfMemory, "0.41 GB free of 0.41 GB", Harness{metal_options()});
  CHECK_THROWS(Code::kOutOfMemory, "sudo sysctl iogpu.wired_limit_mb=12288", Harness{metal_options()});
  check_nothing_left();
}

TEST("metal engine: weights are read in their file, in buffers no larger than the device takes") {
  std::vector<int32_t> tokens[2];
  for (const bool small : {false, true}) {
    const WithGpu gpu([&](emu::MetalMachine& machine) {
      machine.page_bytes = 4096;
      if (small) machine.limits.buffer_bytes = 5 << 20;
    });
    Harness harness(metal_options());
    const EngineInfo& info = harness.engine->info();
    CHECK(info.packed_bytes * 4 < info.weights_bytes);  // only vectors are copied
    CHECK(emu::metal_bytes_wrapped() > info.weights_bytes / 2);
    harness.submit(request(1, prompt_of(1, 30), 8));
    harness.wait_for_ends(1);
    tokens[small] = harness.outcomes[1].tokens;
  }
  CHECK_EQ(tokens[0].size(), size_t(8));
  CHECK(tokens[0] == tokens[1]);
}

}  // namespace oss
