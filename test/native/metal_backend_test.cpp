// The Metal backend below the forward pass: adapters of requests.
#include "native/backend/metal/metal_backend.h"

#include <thread>

#include "kernels/cpu/dispatch.h"
#include "native/backend/cpu/cpu_backend.h"
#include "test/emu/metal/device.h"
#include "test/native/on_device.h"

namespace oss {
namespace {

using namespace test;

struct OnDevice : ModelOn<MetalBackend> {
  explicit OnDevice(bool repeatable = false, DenseWeights dense = DenseWeights::kBF16)
      : ModelOn(emu::make_metal_device(), repeatable, dense) {}
};
struct OnCpu : ModelOn<CpuBackend> {
  explicit OnCpu(DenseWeights dense) : ModelOn(*cpu::available_kernels().back(), 2, nullptr, dense) {}
};

// A machine whose buffers take what was asked for, until the test ends.
class WithGpu {
 public:
  WithGpu() { emu::set_metal_machine(machine); }
  ~WithGpu() { emu::set_metal_machine({}); }

  emu::MetalMachine machine{.present = true, .page_bytes = 256};
};

void for_each_model(const std::function<void(OnDevice&)>& body) {
  for (const unsigned seed : {0u, 1u}) {
    const WithGpu gpu;
    emu::set_metal_seed(seed);
    OnDevice on;
    body(on);
  }
}

}  // namespace

TEST("metal backend: adapters give the logits of the CPU backend, beside weights in bf16 and in Q8") {
  for (const DenseWeights dense : {DenseWeights::kBF16, DenseWeights::kQ8}) {
    OnCpu cpu(dense);
    Adapted cpu_adapted(cpu);
    const HostAdapter all(cpu.model.config, 3, true, 100), attention(cpu.model.config, 8, false, 900);
    for (const int tokens : {4, 20}) {  // few rows, and tiles
      const auto logits = [&](auto& adapted, Backend& backend) {
        const auto first = all.on(backend), second = attention.on(backend);
        std::vector<const AdapterWeights*> adapters;
        for (int t = 0; t < tokens; ++t) {
          adapters.push_back(t % 4 == 1 ? nullptr : t % 4 == 2 ? second.get() : first.get());
        }
        return adapted.logits(adapters);
      };
      const auto expected = logits(cpu_adapted, cpu.backend);
      const WithGpu gpu;
      OnDevice on(false, dense);
      Adapted adapted(on);
      const auto got = logits(adapted, on.backend);
      for (size_t t = 0; t < expected.size(); ++t) {
        // Of bf16 activations: each rounding is 2^-9 of a value.
        const std::vector<double> wanted(expected[t].begin(), expected[t].end());
        CHECK_CLOSE(str("token ", t, " of ", tokens), got[t].data(), wanted.data(), wanted.size(), 0, 0.02);
      }
    }
  }
}

TEST("metal backend: tokens have the same bits beside tokens with other adapters as alone") {
  for_each_model([](OnDevice& on) {
    Adapted adapted(on);
    const auto all = HostAdapter(on.model.config, 3, true, 100).on(on.backend);
    const auto attention = HostAdapter(on.model.config, 8, false, 900).on(on.backend);
    const std::vector<const AdapterWeights*> kinds = {nullptr, all.get(), attention.get()};
    std::vector<std::vector<float>> alone;
    for (const AdapterWeights* adapter : kinds) alone.push_back(adapted.logits({adapter}).front());
    CHECK(alone[0] != alone[1] && alone[0] != alone[2] && alone[1] != alone[2]);
    for (const int tokens : {3, 8}) {
      std::vector<const AdapterWeights*> adapters;
      for (int t = 0; t < tokens; ++t) adapters.push_back(kinds[size_t(t % 3)]);
      const auto together = adapted.logits(adapters);
      for (int t = 0; t < tokens; ++t) CHECK(together[size_t(t)] == alone[size_t(t % 3)]);
    }
    CHECK(adapted.logits({nullptr, attention.get()})[1] == alone[2]);
    CHECK(adapted.logits({nullptr, nullptr})[1] == alone[0]);
    // Long steps have kernels of their own.
    const std::vector<const AdapterWeights*> many(kMostTokens, nullptr);
    std::vector<const AdapterWeights*> mixed = many;
    for (size_t t = 0; t < mixed.size(); ++t) mixed[t] = kinds[t % 3];
    const auto plain = adapted.logits(many), together = adapted.logits(mixed);
    for (size_t t = 0; t < mixed.size(); ++t) {
      CHECK(together[t] == together[t % 3]);
      CHECK_EQ(together[t] == plain[t], t % 3 == 0);
    }
  });
}

TEST("metal backend: repeatable steps of many tokens with adapters have the bits of one token alone") {
  const WithGpu gpu;
  OnDevice on(true);
  Adapted adapted(on);
  const auto all = HostAdapter(on.model.config, 3, true, 100).on(on.backend);
  const auto attention = HostAdapter(on.model.config, 8, false, 900).on(on.backend);
  const std::vector<const AdapterWeights*> kinds = {nullptr, all.get(), attention.get()};
  std::vector<std::vector<float>> alone;
  for (const AdapterWeights* adapter : kinds) alone.push_back(adapted.logits({adapter}).front());
  std::vector<const AdapterWeights*> mixed(kMostTokens, nullptr);
  // The first portion has every kind, a later one has one or none.
  const auto kind_of = [](int t) { return t < 12 ? t % 3 : t / 16 % 3; };
  for (int t = 0; t < kMostTokens; ++t) mixed[size_t(t)] = kinds[size_t(kind_of(t))];
  const auto together = adapted.logits(mixed);
  for (int t = 0; t < kMostTokens; ++t) CHECK(together[size_t(t)] == alone[size_t(kind_of(t))]);
}

TEST("metal backend: an adapter takes what is planned, and frees it after the steps that read it, on any thread") {
  for (const bool elsewhere : {false, true}) {
    for_each_model([&](OnDevice& on) {
      Adapted adapted(on);
      const Config& c = on.model.config;
      const HostAdapter host(c, 5, true, 7);
      const uint64_t one = padded(on.backend.sizes().adapter_table_bytes(c.num_layers, c.num_experts) + host.bytes);
      const size_t before = emu::metal_bytes_in_use();
      auto first = host.on(on.backend);
      const size_t with_work = before + on.backend.sizes().low_rank_bytes(limits_of(c));
      CHECK_EQ(uint64_t(emu::metal_bytes_in_use()), with_work + one);
      const auto want = adapted.logits({first.get(), nullptr});
      auto second = host.on(on.backend);
      CHECK_EQ(uint64_t(emu::metal_bytes_in_use()), with_work + 2 * one);
      adapted.run({nullptr, nullptr});
      adapted.run({first.get(), nullptr});
      // While the step is queued.
      if (elsewhere)
        std::thread([&] { first.reset(); }).join();
      else
        first.reset();
      CHECK_EQ(uint64_t(emu::metal_bytes_in_use()), with_work + one);
      CHECK(adapted.read(2) == want);
      CHECK(adapted.logits({second.get(), nullptr}) == want);
      second.reset();
      CHECK_EQ(emu::metal_bytes_in_use(), with_work);
    });
  }
}

TEST("metal backend: an adapter that outlives the backend frees its memory") {
  const WithGpu gpu;
  std::shared_ptr<const AdapterWeights> adapter;
  {
    OnDevice on;
    Adapted adapted(on);
    adapter = HostAdapter(on.model.config, 5, false, 7).on(on.backend);
    adapted.run({adapter.get()});
  }
  CHECK(emu::metal_bytes_in_use() > 0);
  adapter.reset();
  CHECK_EQ(emu::metal_bytes_in_use(), size_t(0));
}

TEST("metal backend: an adapter without room is refused, and the others stay") {
  WithGpu gpu;
  OnDevice on;
  Adapted adapted(on);
  const HostAdapter host(on.model.config, 5, true, 7);
  const auto first = host.on(on.backend);
  const auto want = adapted.logits({first.get()});
  const size_t used = emu::metal_bytes_in_use();
  gpu.machine.limits.memory_bytes = used + host.bytes;  // no room for the table
  emu::set_metal_machine(gpu.machine);
  CHECK_THROWS(Code::kOutOfMemory, "for an adapter", host.on(on.backend));
  CHECK_EQ(emu::metal_bytes_in_use(), used);
  CHECK(adapted.logits({first.get()}) == want);
}

TEST("metal backend: a step with adapters that fails is met by the engine's thread, after another has freed one") {
  const WithGpu gpu;
  OnDevice on;
  Adapted adapted(on);
  auto adapter = HostAdapter(on.model.config, 5, false, 7).on(on.backend);
  emu::fail_metal_dispatch(5);
  adapted.run({adapter.get()});
  std::thread([&] { adapter.reset(); }).join();
  CHECK_THROWS(Code::kDevice, "the GPU failed", adapted.read(1));
}

}  // namespace oss
