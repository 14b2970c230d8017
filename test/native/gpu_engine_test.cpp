// Whole models on the GPU backends: on emulated devices always, on a CUDA GPU where there is one.
#include <algorithm>
#include <cmath>

#include "native/base/json.h"
#include "native/grammar/constraint.h"
#include "test/emu/machine.h"
#include "test/emu/metal/device.h"
#include "test/kernels/cuda/support.h"
#include "test/native/golden_models.h"

namespace oss {
namespace {

using namespace test;

// A backend, and its emulated device.
struct Gpu {
  const char* backend;
  // Runs the body with engines on the emulated device, and on a real one where tests can use it.
  void (*run)(const std::function<void(bool emulated)>& body);
  // The emulator of Metal checks every access, and so is slower: crowds are smaller.
  bool slow;
  void (*reset)();
  void (*set_memory)(size_t bytes);
  size_t (*bytes_in_use)();
  void (*fail_launch)(int n);
  uint64_t slack;  // by which allocations are rounded up, in all

  EngineOptions options() const {
    EngineOptions options;
    options.backend = backend;
    options.context_length = 512;
    options.max_sequences = 8;
    options.max_batch_tokens = 64;
    options.kv_bytes = 4 << 20;
    return options;
  }
};

const Gpu kCuda = {
    .backend = "cuda",
    .run =
        [](const auto& body) {
          for_each_cuda_device([&](test::CudaDevice& device) {
            if (device.name == "emulated, shuffled") return;  // kernels have their own tests
            const ModuleInUse used(device.module);
            body(device.name == "emulated");
          });
        },
    .slow = false,
    .reset = [] { emu::reset(); },
    .set_memory = [](size_t bytes) { emu::set_machine({.memory_bytes = bytes}); },
    .bytes_in_use = [] { return emu::bytes_in_use(); },
    .fail_launch = [](int n) { emu::fail_launch(n, 719); },
    .slack = 16 << 10,
};

void set_metal(size_t memory_bytes) {
  emu::MetalMachine machine{.present = true};
  if (memory_bytes > 0) machine.limits.working_set_bytes = memory_bytes;
  emu::set_metal_machine(machine);
}

const Gpu kMetal = {
    .backend = "metal",
    .run =
        [](const auto& body) {
          set_metal(0);
          emu::set_metal_seed(1);  // threads in order have the golden models, and the kernels' own tests
          body(true);
          emu::set_metal_machine({});
        },
    .slow = true,
    .reset = [] { set_metal(0); },
    .set_memory = set_metal,
    .bytes_in_use = [] { return emu::metal_bytes_in_use(); },
    .fail_launch = emu::fail_metal_dispatch,
    .slack = 512 << 10,
};

// A test of both, "cuda NAME" and "metal NAME".
#define GPU_TEST(name)                                                                                             \
  static void OSS_JOIN(gpu_test_, __LINE__)(const Gpu& gpu);                                                       \
  static const ::oss::test::Register OSS_JOIN(on_cuda_, __LINE__)("cuda " name,                                    \
                                                                  [] { OSS_JOIN(gpu_test_, __LINE__)(kCuda); });   \
  static const ::oss::test::Register OSS_JOIN(on_metal_, __LINE__)("metal " name,                                  \
                                                                   [] { OSS_JOIN(gpu_test_, __LINE__)(kMetal); }); \
  static void OSS_JOIN(gpu_test_, __LINE__)(const Gpu& gpu)

}  // namespace

GPU_TEST("engine: golden models, prefill and greedy decode") {
  gpu.run([&](bool) {
    for (const char* name : kGoldenCases) check_golden(gpu.options(), name, std::nullopt, kMaxRel, kRmsRel);
    if (!gpu.slow) return;
    emu::set_metal_seed(0);
    for (const char* name : {"a.short", "c.window"}) check_golden(gpu.options(), name, std::nullopt, kMaxRel, kRmsRel);
  });
}

// e4m3 has 3 bits of mantissa: keys and values are off by up to 2^-4, an rms of 2^-4 / sqrt(3) = 3.6 % each. bf16's
// 2^-9 is negligible beside it. The error of the logits depends on how many keys a query mixes. Measured on these
// random models: rms_rel 0.062 and 0.072, max_rel 0.16 and 0.24 (bf16: 0.007 and 0.008, 0.010 and 0.013).
GPU_TEST("engine: golden models with an fp8 cache") {
  gpu.run([&](bool) {
    for (const char* name : {"a.window", "c.window"}) check_golden(gpu.options(), name, kKvFP8, 0.25, 0.12);
  });
}

GPU_TEST("engine: the same load gives the same bits again") {
  gpu.run([&](bool) {
    std::vector<std::vector<int32_t>> tokens[2];
    std::vector<float> logits[2];
    for (int run = 0; run < 2; ++run) {
      Harness harness(gpu.options());
      logits[run] = logits_of(harness, 99, prompt_of(9, 150), 20);
      for (int i = 0; i < 5; ++i) harness.submit(request(i + 1, prompt_of(i, 30 + 20 * i), 12));
      harness.wait_for_ends(6);
      for (int i = 0; i < 5; ++i) tokens[run].push_back(harness.outcomes[i + 1].tokens);
    }
    CHECK(tokens[0] == tokens[1]);
    CHECK(logits[0] == logits[1]);
  });
}

GPU_TEST("engine: repeatable gives the same bits alone, in a crowd, and in any chunks") {
  gpu.run([&](bool) {
    const std::vector<int32_t> prompt = prompt_of(3, gpu.slow ? 70 : 150);
    std::vector<std::vector<float>> results;
    std::vector<std::vector<int32_t>> tokens;
    const int others = gpu.slow ? 2 : 5, more = gpu.slow ? 8 : 20;
    for (const int chunk : {16, 23, 64}) {
      EngineOptions options = gpu.options();
      options.repeatable = true;
      options.max_batch_tokens = chunk;
      options.prefix_cache = false;
      Harness harness(options);
      if (chunk == 23) {
        for (int i = 0; i < others; ++i) harness.submit(request(50 + i, prompt_of(20 + i, 10 + 13 * i), more));
      }
      Request r = request(1, prompt, 0);
      r.logits_last = 30;
      harness.submit(std::move(r));
      harness.submit(request(2, prompt_of(4, 70), more));
      harness.wait_for_ends(chunk == 23 ? 2 + others : 2);
      results.push_back(harness.outcomes[1].logits);
      tokens.push_back(harness.outcomes[2].tokens);
    }
    CHECK(results[1] == results[0]);
    CHECK(results[2] == results[0]);
    CHECK(tokens[1] == tokens[0]);
    CHECK(tokens[2] == tokens[0]);
  });
}

// Recorded steps are replayed for other batches than the recorded ones.
GPU_TEST("engine: sequences come and go, and each gets the same tokens as alone") {
  gpu.run([&](bool) {
    EngineOptions options = gpu.options();
    options.repeatable = true;
    options.max_batch_tokens = 32;
    const int count = gpu.slow ? 4 : 9;
    std::vector<std::vector<int32_t>> alone;
    for (int i = 0; i < count; ++i) {
      Harness harness(options);
      harness.submit(request(1, prompt_of(i, 5 + 17 * i), 6 + 5 * i));
      harness.wait_for_ends(1);
      alone.push_back(harness.outcomes[1].tokens);
    }
    Harness harness(options);
    for (int i = 0; i < count; ++i) harness.submit(request(uint64_t(i + 1), prompt_of(i, 5 + 17 * i), 6 + 5 * i));
    harness.wait_for_ends(count);
    for (int i = 0; i < count; ++i) CHECK(harness.outcomes[uint64_t(i + 1)].tokens == alone[size_t(i)]);
    check_all_pages_free(harness.engine->stats());
  });
}

// This thread takes and frees memory of the device while the engine's thread runs steps; CUDA records and repeats them.
GPU_TEST("engine: adapters are loaded and unloaded beside steps, and no token changes") {
  gpu.run([&](bool) {
    const AdapterOption option{.name = "one", .path = source_path("test/golden/adapters/a.peft")};
    EngineOptions options = gpu.options();
    options.repeatable = true;
    std::vector<int32_t> plain, adapted;
    const auto with_adapter = [](uint64_t id) {
      Request r = request(id, prompt_of(2, 9), 6);
      r.adapter_name = "one";
      return r;
    };
    {
      Harness harness(options);
      harness.engine->load_adapter(option);
      harness.submit(request(1, prompt_of(1, 9), 24));
      harness.submit(with_adapter(2));
      harness.wait_for_ends(2);
      plain = harness.outcomes[1].tokens;
      adapted = harness.outcomes[2].tokens;
    }
    Harness harness(options);
    harness.submit(request(1, prompt_of(1, 9), 24));
    for (uint64_t round = 0; round < 4; ++round) {
      harness.engine->load_adapter(option);
      if (round % 2 == 0) harness.submit(with_adapter(10 + round));
      harness.engine->unload_adapter("one");  // a request keeps it
    }
    harness.wait_for_ends(3);
    CHECK(harness.outcomes[1].tokens == plain);
    for (const uint64_t id : {10, 12}) CHECK(harness.outcomes[id].tokens == adapted);
    check_all_pages_free(harness.engine->stats());
  });
}

// The device is one step ahead. Its result for a sequence that has ended meanwhile is discarded.
GPU_TEST("engine: stop tokens, cancels and newcomers in the middle change nothing for the others") {
  gpu.run([&](bool) {
    EngineOptions options = gpu.options();
    options.repeatable = true;
    options.max_batch_tokens = 32;
    const int length = gpu.slow ? 16 : 40;
    std::vector<std::vector<int32_t>> alone;
    for (int i = 0; i < 6; ++i) {
      Harness harness(options);
      harness.submit(request(1, prompt_of(i, 9 + 11 * i), length));
      harness.wait_for_ends(1);
      alone.push_back(harness.outcomes[1].tokens);
    }
    Harness harness(options);
    for (int i = 0; i < 4; ++i) {
      Request r = request(uint64_t(i + 1), prompt_of(i, 9 + 11 * i), length);
      // Two of them stop at a token that they generate on the way. The second must not stop before its third token.
      if (i < 2) r.stop_tokens = {alone[size_t(i)][size_t(5 + 10 * i)]};
      if (i == 1) r.min_tokens = 3;
      harness.submit(std::move(r));
    }
    harness.wait_for_ends(1);
    harness.submit(request(5, prompt_of(4, 9 + 11 * 4), length));
    harness.engine->cancel(harness.client, 4);
    harness.submit(request(6, prompt_of(5, 9 + 11 * 5), length));
    harness.wait_for_ends(6);
    for (int i = 0; i < 6; ++i) {
      const Outcome& outcome = harness.outcomes[uint64_t(i + 1)];
      const std::vector<int32_t>& want = alone[size_t(i)];
      if (i != 1) CHECK(std::equal(outcome.tokens.begin(), outcome.tokens.end(), want.begin()));
      if (i == 2 || i >= 4) CHECK_EQ(outcome.tokens.size(), want.size());
      if (i == 0) CHECK(outcome.reason == FinishReason::kStop && outcome.tokens.size() <= 6);
      if (i == 3) CHECK(outcome.reason == FinishReason::kCancelled || outcome.tokens.size() == want.size());
    }
    check_all_pages_free(harness.engine->stats());
  });
}

GPU_TEST("engine: a cache too small for all makes sequences wait and restart, and no token is lost") {
  gpu.run([&](bool) {
    const int count = gpu.slow ? 3 : 5, tokens = gpu.slow ? 30 : 60;
    EngineOptions options = gpu.options();
    options.repeatable = true;
    options.context_length = 0;
    options.kv_bytes = gpu.slow ? 450'000 : 700'000;  // ten pages or so of both groups, or six
    options.max_batch_tokens = 32;
    Harness harness(options);
    for (int i = 0; i < count; ++i) harness.submit(request(uint64_t(i + 1), prompt_of(i, 100 + 9 * i), tokens));
    harness.wait_for_ends(count);
    for (int i = 0; i < count; ++i) CHECK_EQ(harness.outcomes[uint64_t(i + 1)].tokens.size(), size_t(tokens));
    CHECK(harness.engine->stats().preemptions > 0);
    check_all_pages_free(harness.engine->stats());
  });
}

GPU_TEST("engine: a prompt whose beginning was computed before is read from the cache, with the same tokens") {
  gpu.run([&](bool) {
    EngineOptions options = gpu.options();
    options.repeatable = true;
    Harness harness(options);
    const std::vector<int32_t> prompt = prompt_of(1, 140);
    harness.submit(request(1, prompt, 6));
    harness.wait_for_ends(1);
    harness.submit(request(2, prompt, 6));
    harness.wait_for_ends(2);
    CHECK_EQ(harness.outcomes[1].cached_tokens, int64_t(0));
    CHECK_EQ(harness.outcomes[2].cached_tokens, int64_t(2 * kPageTokens));
    CHECK(harness.outcomes[2].tokens == harness.outcomes[1].tokens);
  });
}

GPU_TEST("engine: close() in the middle of a step rejects what runs, and frees all memory") {
  gpu.run([&](bool emulated) {
    const size_t before = emulated ? gpu.bytes_in_use() : 0;
    {
      Harness harness(gpu.options());
      harness.submit(request(1, prompt_of(1, 200), 100));
      harness.submit(request(2, prompt_of(2, 10), 100));
      harness.engine->close();
      harness.wait_for_ends(2);
      for (const uint64_t id : {1, 2}) CHECK(harness.outcomes[id].code == Code::kClosed);
      CHECK_THROWS(Code::kClosed, "closed", harness.submit(request(3, {1}, 1)));
    }
    if (emulated) CHECK_EQ(gpu.bytes_in_use(), before);
  });
}

GPU_TEST("engine: sampled tokens, penalties, bias and log probabilities equal the CPU's sampler") {
  gpu.run([&](bool) {
    Harness harness(gpu.options());
    for (int i = 0; i < 6; ++i) {
      Request r = request(uint64_t(i + 1), prompt_of(i, 20), 24);
      r.sampling.temperature = 0.5f + 0.25f * float(i);
      r.sampling.top_k = i % 2 == 0 ? 0 : 40;
      r.sampling.top_p = i % 3 == 0 ? 1 : 0.9f;
      r.sampling.seed_lo = unsigned(i);
      r.sampling.repetition_penalty = i == 4 ? 1.3f : 1;
      r.sampling.frequency_penalty = i == 5 ? 0.7f : 0;
      if (i == 2) r.bias = {{7, -std::numeric_limits<float>::infinity()}, {9, 3}};
      r.top_logprobs = i;
      harness.submit(std::move(r));
    }
    harness.wait_for_ends(6);
    for (int i = 0; i < 6; ++i) {
      const std::vector<int32_t>& tokens = harness.outcomes[uint64_t(i + 1)].tokens;
      CHECK_EQ(tokens.size(), size_t(24));
      if (i == 2) CHECK(std::find(tokens.begin(), tokens.end(), 7) == tokens.end());
    }
  });
}

// The mask of the next token is known only while the device already computes its logits. With logits that go through
// the client, it is known before.
GPU_TEST("engine: constraints, penalties and stop bans give the same tokens with and without steps ahead") {
  gpu.run([&](bool) {
    EngineOptions options = gpu.options();
    options.repeatable = true;
    const int32_t end = 510;
    const auto constraint =
        grammar::compile_constraint(R"({"kind":"text","format":{"type":"json_object"}})", 512, {&end, 1});
    const auto nth = [&](uint64_t id) {
      Request r = request(id, prompt_of(int(id), 9), 24);
      r.sampling.temperature = 1;
      r.sampling.seed_lo = unsigned(id);
      if (id == 3) r.sampling.repetition_penalty = 1.5f;
      if (id % 2 == 0) {
        r.constraint = constraint;
        r.stop_tokens = {end};
        r.min_tokens = 4;
        r.sampling.presence_penalty = id == 4 ? 1.0f : 0.0f;
        r.bias = {{90, -5}};
      }
      return r;
    };
    std::map<uint64_t, Outcome> without;
    {
      Harness harness(options, "synthetic:tiny");
      Request processed = request(9, prompt_of(9, 9), 400);
      processed.processed = true;
      harness.submit(std::move(processed));
      for (uint64_t id = 1; id <= 4; ++id) harness.submit(nth(id));
      harness.wait_for_ends(4);
      CHECK_EQ(harness.outcomes[9].ends, 0);
      for (uint64_t id = 1; id <= 4; ++id) without[id] = harness.outcomes[id];
    }
    Harness harness(options, "synthetic:tiny");
    for (uint64_t id = 1; id <= 4; ++id) harness.submit(nth(id));
    harness.wait_for_ends(4);
    for (uint64_t id = 1; id <= 4; ++id) {
      CHECK(harness.outcomes[id].tokens == without[id].tokens);
      CHECK(harness.outcomes[id].reason == without[id].reason);
    }
    // Random weights seldom end by themselves: the limit closes a text with tokens that are drawn a second time.
    CHECK(harness.outcomes[2].reason == FinishReason::kLength || harness.outcomes[4].reason == FinishReason::kLength);
    for (const uint64_t id : {2, 4}) {
      CHECK_EQ(harness.outcomes[id].tokens.back(), end);
      CHECK(parse_json(harness.outcomes[id].text, "constrained").object() != nullptr);
    }
    check_all_pages_free(harness.engine->stats());
  });
}

GPU_TEST("engine: synthetic:tiny has the CPU's weights") {
  gpu.run([&](bool) {
    std::vector<float> logits[2];
    for (const bool on_gpu : {false, true}) {
      EngineOptions options = gpu.options();
      options.backend = on_gpu ? gpu.backend : "cpu";
      Harness harness(options, "synthetic:tiny?seed=5");
      logits[on_gpu] = logits_of(harness, 1, prompt_of(1, 40), 1);
    }
    double error = 0, size = 0;
    for (size_t i = 0; i < logits[0].size(); ++i) {
      error += std::pow(double(logits[1][i]) - logits[0][i], 2);
      size += std::pow(double(logits[0][i]), 2);
    }
    CHECK(size > 0);
    CHECK(std::sqrt(error / size) < kRmsRel);
  });
}

// --- what goes wrong ------------------------------------------------------------------------------------------------------

GPU_TEST("engine: two engines on one device free all memory at the end") {
  gpu.run([&](bool emulated) {
    const size_t before = emulated ? gpu.bytes_in_use() : 0;
    {
      Harness one(gpu.options()), two(gpu.options(), "c");
      for (int i = 0; i < 3; ++i) {
        one.submit(request(uint64_t(i + 1), prompt_of(i, 20), 8));
        two.submit(request(uint64_t(i + 1), std::vector<int32_t>(20, 5 + i), 8));
      }
      one.wait_for_ends(3);
      two.wait_for_ends(3);
      for (Harness* harness : {&one, &two}) {
        for (uint64_t id = 1; id <= 3; ++id) {
          CHECK_EQ(harness->outcomes[id].message, std::string());
          CHECK_EQ(harness->outcomes[id].tokens.size(), size_t(8));
        }
      }
    }
    if (emulated) CHECK_EQ(gpu.bytes_in_use(), before);
  });
}

GPU_TEST("engine: the planned memory is the memory in use") {
  gpu.run([&](bool emulated) {
    if (!emulated) return;  // other processes may use a real device
    Harness harness(gpu.options());
    const EngineInfo& info = harness.engine->info();
    const uint64_t planned = info.packed_bytes + info.workspace_bytes + info.kv_bytes;
    harness.submit(request(1, prompt_of(1, 100), 10));
    harness.wait_for_ends(1);
    const size_t taken = gpu.bytes_in_use();
    if (taken + gpu.slack < planned || taken > planned + gpu.slack) {
      fail(__FILE__, __LINE__, str("taken ", taken, ", planned ", planned));
    }
  });
}

GPU_TEST("engine: penalties, biases and masks of all rows fit into the reserved memory") {
  gpu.run([&](bool emulated) {
    if (!emulated) return;
    const int32_t end = 510;
    const auto constraint =
        grammar::compile_constraint(R"({"kind":"text","format":{"type":"json_object"}})", 512, {&end, 1});
    Harness harness(gpu.options(), "synthetic:tiny");
    const size_t loaded = gpu.bytes_in_use();
    for (int i = 0; i < 8; ++i) {
      Request r = request(uint64_t(i + 1), prompt_of(i, 200), 3);
      r.sampling.repetition_penalty = 1.1f;
      for (int32_t token = 0; token < 300; ++token) r.bias.push_back({token % 50, 0.5f});
      if (i % 2 == 0) r.constraint = constraint;
      harness.submit(std::move(r));
    }
    harness.wait_for_ends(8);
    CHECK_EQ(gpu.bytes_in_use(), loaded);
  });
}

GPU_TEST("engine: a device too small for the plan is refused with numbers, before anything is loaded") {
  gpu.run([&](bool emulated) {
    if (!emulated) return;
    gpu.set_memory(size_t(513) << 20);
    CHECK_THROWS(Code::kOutOfMemory, "GB for weights", Harness{gpu.options()});
    CHECK_EQ(gpu.bytes_in_use(), size_t(0));
    gpu.set_memory(size_t(536) << 20);
    EngineOptions options = gpu.options();
    options.kv_bytes = 1ull << 30;
    CHECK_THROWS(Code::kOutOfMemory, "1.07 GB for kvCache.bytes", Harness{options});
    CHECK_EQ(gpu.bytes_in_use(), size_t(0));
    gpu.reset();
  });
}

TEST("cuda engine: a launch that fails in a step ends the engine with DEVICE, not the process") {
  kCuda.run([](bool emulated) {
    if (!emulated) return;
    {
      Harness harness(kCuda.options());
      harness.submit(request(1, prompt_of(1, 30), 5));
      harness.wait_for_ends(1);
      emu::fail_launch(7, 719);
      for (int i = 2; i < 5; ++i) harness.submit(request(uint64_t(i), prompt_of(i, 30), 5));
      harness.wait_for_ends(4);
      for (uint64_t i = 2; i < 5; ++i) {
        CHECK(harness.outcomes[i].failed);
        CHECK(harness.outcomes[i].code == Code::kDevice);
      }
      CHECK_THROWS(Code::kClosed, "CUDA device 0", harness.submit(request(9, prompt_of(1, 3), 1)));
      CHECK_THROWS(Code::kClosed, "restart the process", harness.submit(request(9, prompt_of(1, 3), 1)));
    }
    CHECK_THROWS(Code::kUnsupported, "unspecified launch failure; restart the process", Harness{kCuda.options()});
    emu::reset();
    CHECK_EQ(emu::bytes_in_use(), size_t(0));
    Harness after(kCuda.options());
    after.submit(request(1, prompt_of(1, 30), 5));
    after.wait_for_ends(1);
    CHECK_EQ(after.outcomes[1].tokens.size(), size_t(5));
  });
}

GPU_TEST("engine: a load that is cancelled halfway gives all device memory back") {
  gpu.run([&](bool emulated) {
    if (!emulated) return;
    size_t most = 0;
    CHECK_THROWS(Code::kCancelled, "cancel",
                 Engine(
                     source_path("test/golden/models/a"), gpu.options(),
                     [&](const LoadProgress& progress) {
                       if (progress.loaded_bytes > 0) most = std::max(most, gpu.bytes_in_use());
                     },
                     [&] { return most > 0; }));
    CHECK(most > 0);
    CHECK_EQ(gpu.bytes_in_use(), size_t(0));
  });
}

TEST("cuda engine: unsupported options and missing devices") {
  kCuda.run([](bool emulated) {
    EngineOptions options = kCuda.options();
    options.kv_type = kKvF32;
    CHECK_THROWS(Code::kUnsupported, "\"bf16\" or \"fp8\"", Harness{options});
    options = kCuda.options();
    options.numerics = "exact";
    CHECK_THROWS(Code::kUnsupported, "numerics \"exact\"", Harness{options});
    options = kCuda.options();
    options.dense_weights = DenseWeights::kQ8;
    CHECK_THROWS(Code::kUnsupported, "denseWeights \"q8\"", Harness{options});
    options = kCuda.options();
    options.expert_weights = ExpertWeights::kBF16;
    CHECK_THROWS(Code::kUnsupported, "expertWeights \"bf16\" is for the CPU backend", Harness{options});
    options = kCuda.options();
    options.backend = "cuda:77";
    CHECK_THROWS(Code::kInvalidArgument, "cuda:77", Harness{options});
    if (emulated) CHECK_EQ(emu::bytes_in_use(), size_t(0));
  });
}

}  // namespace oss
