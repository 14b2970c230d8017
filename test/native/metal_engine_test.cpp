// What only the Metal backend does: its refusals, the failures of its device, and barriers between dispatches.
// gpu_engine_test.cpp has what it shares with CUDA.
#include <algorithm>

#include "kernels/common/dtype.h"
#include "kernels/common/q8.h"
#include "kernels/cpu/dispatch.h"
#include "native/adapters/merge.h"
#include "native/backend/metal/metal_backend.h"
#include "native/checkpoint/checkpoint.h"
#include "native/checkpoint/conversions.h"
#include "native/checkpoint/converted_tensors.h"
#include "native/engine/memory_plan.h"
#include "native/model/pack.h"
#include "test/emu/metal/device.h"
#include "test/native/converted.h"
#include "test/native/golden_models.h"

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
  const std::pair<std::function<void(metal::DeviceLimits&)>, const char*> unusable[] = {
      {[](auto& limits) { limits.macos_major = 13; }, "this is macOS 13.0, and Metal needs macOS 14 or later"},
      {[](auto& limits) { limits.family = 6; }, "of Apple's family 6; family 7, an M1, or later is needed"},
      {[](auto& limits) { limits.family = 0; }, "is not one of Apple; an M1 or later is needed"},
  };
  for (const auto& [change, reason] : unusable) {
    const WithGpu old([&](emu::MetalMachine& machine) { change(machine.limits); });
    CHECK_THROWS(Code::kUnsupported, reason, Harness{metal_options()});
    CHECK(list_backends()[2].detail.find(reason) != std::string::npos);
  }
  const WithGpu gpu;
  EngineOptions options = metal_options();
  options.kv_type = kKvF32;
  CHECK_THROWS(Code::kUnsupported, "\"bf16\" or \"fp8\"", Harness{options});
  options = metal_options();
  options.numerics = "exact";
  CHECK_THROWS(Code::kUnsupported, "numerics \"exact\"", Harness{options});
  options = metal_options();
  options.expert_weights = ExpertWeights::kBF16;
  CHECK_THROWS(Code::kUnsupported, "expertWeights \"bf16\"", Harness{options});
  check_nothing_left();
}

TEST("metal engine: a working set that is too small is refused with the numbers and the remedy") {
  const WithGpu gpu([](emu::MetalMachine& machine) {
    machine.limits.working_set_bytes = 400 << 20;
    machine.limits.memory_bytes = uint64_t(16) << 30;
  });
  CHECK_THROWS(Code::kOutOfMemory, "0.41 GB free of 0.41 GB", Harness{metal_options()});
  CHECK_THROWS(Code::kOutOfMemory, "sudo sysctl iogpu.wired_limit_mb=14336", Harness{metal_options()});
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

TEST("metal engine: copied weights that no single buffer takes have one each") {
  std::vector<int32_t> tokens[2];
  uint64_t copied = 0;
  for (const bool small : {false, true}) {
    const WithGpu gpu([&](emu::MetalMachine& machine) {
      machine.page_bytes = 4096;
      if (small) machine.limits.buffer_bytes = copied - 1;
    });
    EngineOptions options = metal_options();
    options.max_sequences = 1;
    options.max_batch_tokens = 16;
    options.kv_bytes = 1 << 20;
    Harness harness(options, "synthetic:wide");  // no file holds its weights
    copied = harness.engine->info().packed_bytes;
    harness.submit(request(1, prompt_of(1, 3), 2));
    harness.wait_for_ends(1);
    tokens[small] = harness.outcomes[1].tokens;
  }
  CHECK_EQ(tokens[0].size(), size_t(2));
  CHECK(tokens[0] == tokens[1]);
}

// Only the rounding of activations differs. The CPU's logits stand for the golden ones, at the same positions.
TEST("metal engine: denseWeights q8 has the CPU's weights, in kernels for few rows and for many") {
  const WithGpu gpu;
  for (const char* name : {"a.short", "a.window"}) {  // 5 tokens, and chunks of 64
    Golden want = golden_case(name);
    const int32_t first = want.positions.front();
    std::vector<float> logits[2];
    for (const bool on_gpu : {false, true}) {
      EngineOptions options = metal_options();
      options.dense_weights = DenseWeights::kQ8;
      options.backend = on_gpu ? "metal" : "cpu";
      options.numerics = on_gpu ? "fast" : "exact";
      Harness harness(options);
      CHECK(harness.engine->info().dense_weights == DenseWeights::kQ8);
      logits[on_gpu] = logits_of(harness, 1, want.tokens, int64_t(want.tokens.size()) - first);
    }
    for (size_t p = 0; p < want.positions.size(); ++p) {
      const float* from = &logits[0][size_t(want.positions[p] - first) * want.vocab];
      std::copy(from, from + want.vocab, want.logits.begin() + ptrdiff_t(p * want.vocab));
    }
    const Deviation found = deviation(want, logits[1], first, kMaxRel);
    CHECK(found.tossed <= 1);
    if (!(found.max_rel <= kMaxRel && found.rms_rel <= kRmsRel))
      fail(__FILE__, __LINE__, str(name, ": max_rel ", found.max_rel, ", rms_rel ", found.rms_rel));
  }
}

TEST("metal engine: auto takes the GPU for denseWeights q8, and the CPU where there is none") {
  EngineOptions options = metal_options();
  options.backend = "auto";
  options.dense_weights = DenseWeights::kQ8;
  {
    const WithGpu gpu;
    CHECK_EQ(Harness(options).engine->info().device.backend, std::string("metal"));
  }
  const WithGpu none([](emu::MetalMachine& machine) { machine.present = false; });
  const Harness harness(options);
  CHECK_EQ(harness.engine->info().device.backend, std::string("cpu"));
  CHECK(harness.engine->info().backend_why.find("cuda: it has no denseWeights \"q8\"") != std::string::npos);
}

TEST("metal engine: with denseWeights q8, the planned memory is the memory in use") {
  const WithGpu gpu([](emu::MetalMachine& machine) { machine.page_bytes = 4096; });
  uint64_t wrapped[2], copied[2];
  for (const bool q8 : {false, true}) {
    EngineOptions options = metal_options();
    if (q8) options.dense_weights = DenseWeights::kQ8;
    Harness harness(options);
    const EngineInfo& info = harness.engine->info();
    const uint64_t planned = info.packed_bytes + info.workspace_bytes + info.kv_bytes;
    harness.submit(request(1, prompt_of(1, 100), 10));
    harness.wait_for_ends(1);
    CHECK_EQ(harness.outcomes[1].tokens.size(), size_t(10));
    const size_t taken = emu::metal_bytes_in_use(), slack = 512 << 10;
    if (taken + slack < planned || taken > planned + slack)
      fail(__FILE__, __LINE__, str("taken ", taken, ", planned ", planned));
    copied[q8] = info.packed_bytes;
    wrapped[q8] = emu::metal_bytes_wrapped();
  }
  check_nothing_left();
  // The copies take the place of the matrices in the file; the router's matrices stay there.
  CHECK(copied[1] > copied[0]);
  CHECK(wrapped[1] < wrapped[0]);
  CHECK(copied[1] - copied[0] < wrapped[0] - wrapped[1]);
}

TEST("metal engine: the bytes of copies are known before they are made") {
  const WithGpu gpu;
  const auto check = [](const char* what, const Checkpoint& checkpoint, DenseWeights dense) {
    MetalBackend backend(emu::make_metal_device(), false, dense);
    const uint64_t planned = weight_bytes(checkpoint.config, backend.sizes(), false, &checkpoint.tensors).copied;
    backend.packer().reserve_weights(planned);
    const size_t reserved = emu::metal_bytes_in_use();
    const Model model = pack_model(checkpoint.config, checkpoint.tensors, backend.packer(), [](size_t, size_t) {});
    CHECK_EQ(model.holds_q8(), dense == DenseWeights::kQ8);
    CHECK(model.layers.front().router.data != nullptr);
    // What is made takes multiples of 256 bytes. A plan does not know this; tensors of released shapes are multiples.
    const auto made = std::ranges::count_if(checkpoint.tensors, [](const auto& one) { return one.second.is_made(); });
    const uint64_t packed = backend.packer().packed_bytes();
    if (packed < planned || packed > planned + uint64_t(made) * 255)
      fail(__FILE__, __LINE__, str(what, ": planned ", planned, ", packed ", packed));
    if (made == 0) CHECK_EQ(emu::metal_bytes_in_use(), reserved);
  };
  for (const DenseWeights dense : {DenseWeights::kBF16, DenseWeights::kQ8}) {
    check("as it is", *open_checkpoint(source_path("test/golden/models/a")), dense);
    const auto merged = open_checkpoint(source_path("test/golden/models/c"));
    merge_adapter(read_adapter(source_path("test/golden/adapters/c.unsloth"), 1, merged->config), merged->tensors, {},
                  MeasureMerge::kNothing);
    check("merged", *merged, dense);
  }
  check_nothing_left();
}

TEST("metal engine: Q8 blocks of a file keep their numbers; what has no scale stays in bf16") {
  const WithGpu gpu;
  const int rows = 40, cols = 96;
  std::mt19937 random(1);
  std::vector<std::byte> blocks(size_t(rows * cols / kQ8Block * kQ8BlockBytes));
  for (std::byte& byte : blocks) byte = std::byte(random() & 0x3F);  // scales are positive and finite
  const auto in_blocks = [&] {
    return converted_matrix(stored_of(blocks, {rows, cols}, DType::kU8, Packing::kQ8), std::make_shared<Conversions>());
  };
  MetalBackend backend(emu::make_metal_device(), false, DenseWeights::kBF16);
  WeightPacker& packer = backend.packer();
  packer.reserve_weights(8192);
  const Matrix kept = packer.pack_matrix(in_blocks(), MatrixUse::kProduct);
  CHECK(kept.data == nullptr && kept.rows == rows && kept.cols == cols);
  for (size_t b = 0; b < blocks.size() / kQ8BlockBytes; ++b) {
    CHECK(std::memcmp(kept.q8_scales + b, &blocks[b * kQ8BlockBytes], 2) == 0);
    CHECK(std::memcmp(kept.q8_codes + b * kQ8Block, &blocks[b * kQ8BlockBytes + 2], kQ8Block) == 0);
  }
  CHECK_EQ(packer.packed_bytes(), size_t(padded(blocks.size())));
  CHECK(packer.pack_matrix(in_blocks(), MatrixUse::kRouter).data != nullptr);

  blocks[kQ8BlockBytes + 1] = std::byte(0x90);  // a negative scale
  const size_t before = packer.packed_bytes();
  const Matrix as_bf16 = packer.pack_matrix(in_blocks(), MatrixUse::kProduct);
  CHECK_EQ(packer.packed_bytes() - before, size_t(padded(rows * cols * 2)));
  const std::vector<std::byte> values = read_all(in_blocks());
  CHECK(as_bf16.q8_codes == nullptr && std::memcmp(as_bf16.data, values.data(), values.size()) == 0);

  MetalBackend q8(emu::make_metal_device(), false, DenseWeights::kQ8);
  std::vector<uint16_t> bf16(size_t(rows) * cols);
  for (uint16_t& value : bf16) value = f32_to_bf16(float(int(random() % 2001) - 1000));
  const auto pack = [&](int r, int c, MatrixUse use) {
    HostTensor tensor{
        "m", "f", DType::kBF16, {r, c}, reinterpret_cast<const std::byte*>(bf16.data()), size_t(r) * size_t(c) * 2};
    return q8.packer().pack_matrix(tensor, use);
  };
  const Matrix made = pack(rows, cols, MatrixUse::kTable);
  std::vector<int8_t> codes(bf16.size());
  std::vector<uint16_t> scales(bf16.size() / kQ8Block);
  cpu::available_kernels().back()->quantize_q8(scales.size(), bf16.data(), codes.data(), scales.data());
  CHECK(std::equal(codes.begin(), codes.end(), made.q8_codes));
  CHECK(std::equal(scales.begin(), scales.end(), made.q8_scales));
  CHECK(pack(rows * 2, cols / 2, MatrixUse::kProduct).data != nullptr);  // half a block at the end
  CHECK(pack(rows, cols, MatrixUse::kRouter).data != nullptr);
  bf16[300] = 0x7FC0;
  CHECK(pack(rows, cols, MatrixUse::kProduct).data != nullptr);
}

TEST("metal engine: adapters of requests take what is planned, to the page") {
  const WithGpu gpu;
  const uint64_t page = emu::MetalMachine().page_bytes;
  const AdapterOption adapter{.name = "one", .path = source_path("test/golden/adapters/a.peft")};
  EngineOptions options = metal_options();
  size_t plain = 0;
  uint64_t workspace = 0;
  {
    Harness harness(options);
    Engine& engine = *harness.engine;
    plain = emu::metal_bytes_in_use();
    workspace = engine.info().workspace_bytes;
    const AdapterInfo one = engine.load_adapter(adapter);
    const size_t loaded = emu::metal_bytes_in_use();
    engine.unload_adapter("one");
    CHECK_EQ(uint64_t(loaded - emu::metal_bytes_in_use()), (one.bytes + page - 1) / page * page);
    engine.load_adapter(adapter);
    CHECK_EQ(emu::metal_bytes_in_use(), loaded);
  }
  options.adapters = {adapter};
  {
    Harness harness(options);
    const EngineInfo& info = harness.engine->info();
    const uint64_t planned = info.workspace_bytes - workspace + harness.engine->adapters().front().bytes;
    const uint64_t taken = emu::metal_bytes_in_use() - plain;
    CHECK(taken >= planned && taken < planned + 2 * page);  // two buffers
  }
  check_nothing_left();
}

}  // namespace oss
