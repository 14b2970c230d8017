// The CUDA backend below the forward pass. Single operations are correct in steps of any size. Blocks give the same
// results as their single operations. A step has exactly the expected launches.
#include <bit>
#include <cmath>
#include <type_traits>

#include "kernels/cpu/dispatch.h"
#include "native/backend/cuda/cuda_backend.h"
#include "test/emu/machine.h"
#include "test/kernels/cuda/support.h"
#include "test/native/check.h"
#include "test/native/on_device.h"

namespace oss {
namespace {

using namespace test;

struct OnDevice : ModelOn<CudaBackend> {
  explicit OnDevice(const cuda::Module& module) : ModelOn(module, 0, false) {}
};

void for_each_model(const std::function<void(OnDevice&)>& body) {
  for_each_cuda_device([&](test::CudaDevice& device) {
    OnDevice on_device(device.module);
    body(on_device);
  });
}

std::vector<double> doubles(const std::vector<float>& values) { return {values.begin(), values.end()}; }

}  // namespace

TEST("cuda backend: norm and router are correct in steps of any size") {
  for (const int tokens : {1, 3, kMostTokens}) {
    for_each_model([&](OnDevice& on) {
      const Config& c = on.model.config;
      const size_t hidden = size_t(c.hidden), elements = size_t(tokens) * hidden;
      const std::vector<float> x = bf16_values(elements, 1), logits = bf16_values(size_t(tokens) * c.num_experts, 2);
      const Step step = on.step(tokens);
      float* x_there = on.floats(x);
      float* y = on.floats((elements + 1) / 2);
      on.backend.begin(step);
      on.backend.rms_norm({.rows = tokens, .hidden = c.hidden, .eps = c.rms_eps}, RowsOf::kTokens, x_there,
                          on.model.layers[0].attn_norm, {y});
      const std::vector<float> weights = on.read(on.model.layers[0].attn_norm.data, hidden);
      std::vector<float> got;
      for (const float pair : on.read(y, (elements + 1) / 2)) {
        const auto bits = std::bit_cast<uint32_t>(pair);
        got.push_back(bf16_to_f32(uint16_t(bits)));
        got.push_back(bf16_to_f32(uint16_t(bits >> 16)));
      }
      for (int t = 0; t < tokens; ++t) {
        std::vector<double> expected;
        double squares = 0;
        for (size_t i = 0; i < hidden; ++i) squares += double(x[t * hidden + i]) * x[t * hidden + i];
        for (size_t i = 0; i < hidden; ++i)
          expected.push_back(x[t * hidden + i] / std::sqrt(squares / double(hidden) + c.rms_eps) * weights[i]);
        CHECK_CLOSE("norm", got.data() + t * hidden, expected.data(), hidden, 0, 1.0 / 256);  // half a unit of bf16
      }

      const size_t chosen = size_t(tokens) * c.experts_per_token;
      float* index = on.floats(chosen);
      float* weight = on.floats(chosen);
      const RouterArgs args = {.tokens = tokens, .experts = c.num_experts, .top_k = c.experts_per_token};
      on.backend.router(args, on.floats(logits), reinterpret_cast<int32_t*>(index), weight);
      std::vector<int32_t> expected_index(chosen);
      std::vector<float> expected_weight(chosen);
      cpu::available_kernels().back()->router(args, logits.data(), expected_index.data(), expected_weight.data());
      const std::vector<float> got_index = on.read(index, chosen);
      for (size_t i = 0; i < chosen; ++i) CHECK_EQ(std::bit_cast<int32_t>(got_index[i]), expected_index[i]);
      CHECK_CLOSE("router", on.read(weight, chosen).data(), doubles(expected_weight).data(), chosen, 0, 5e-7);
    });
  }
}

// The block sums in another order and rounds to bf16 at the same places. A sum near the middle of two bf16 values can
// round to the other one: 2^-8 of one operand, and a sum has dozens of operands.
TEST("cuda backend: a block gives the results of its single operations") {
  for (const int tokens : {1, 3, kMostTokens}) {
    for_each_model([&](OnDevice& on) {
      const Config& c = on.model.config;
      const Layer& layer = on.model.layers[0];
      const size_t elements = size_t(tokens) * c.hidden, heads = size_t(tokens) * c.q_size();
      const std::vector<float> start = bf16_values(elements, 3);
      const Step step = on.step(tokens);
      const RmsNormArgs norm = {.rows = tokens, .hidden = c.hidden, .eps = c.rms_eps};
      const size_t cache_floats = size_t(tokens) * c.kv_size() * kPageTokens;  // keys and values in bf16
      const AttentionBlock attention = {
          .norm_args = norm,
          .qkv_args = {tokens, c.hidden, c.num_heads, c.num_kv_heads, c.head_dim, kKvFull, kKvBF16},
          .attention_args = {tokens, c.num_heads, c.num_kv_heads, c.head_dim, kKvFull, kKvBF16, 0, 1, 0.125f},
          .o_args = {.rows = tokens, .in = c.q_size(), .out = c.hidden, .accumulate = 1},
          .norm = layer.attn_norm,
          .qkv = layer.qkv,
          .sinks = layer.sinks,
          .o = layer.o,
          .o_bias = layer.o_bias,
          .next_qkv = &on.model.layers[1].qkv,
          .adapters = {},
          .cache = on.floats(cache_floats),
          .x = on.floats(elements),
          .normed = {on.floats(elements)},
          .q = {on.floats(heads)},
          .attended = {on.floats(heads)}};
      const MoeBlock moe = {
          .norm_args = norm,
          .router_args = {.rows = tokens, .in = c.hidden, .out = c.num_experts, .accumulate = 0, .precise = 1},
          .choice_args = {.tokens = tokens, .experts = c.num_experts, .top_k = c.experts_per_token},
          .experts_args = {tokens, c.hidden, c.intermediate, c.num_experts, c.experts_per_token, c.swiglu_limit,
                           c.swiglu_alpha},
          .norm = layer.mlp_norm,
          .router = layer.router,
          .router_bias = layer.router_bias,
          .gate_up = layer.gate_up,
          .down = layer.down,
          .adapters = {},
          .x = attention.x,
          .normed = {on.floats(elements), on.floats(elements)},
          .router_logits = on.floats(size_t(tokens) * c.num_experts),
          .expert = reinterpret_cast<int32_t*>(on.floats(size_t(tokens) * c.experts_per_token)),
          .expert_weight = on.floats(size_t(tokens) * c.experts_per_token)};
      const auto after = [&](const std::function<void()>& body) {
        on.backend.write(start, attention.x);
        on.backend.begin(step);
        body();
        return on.read(attention.x, elements);
      };
      const std::vector<float> singles = after([&] { on.backend.Backend::attention_block(attention, step); });
      const std::vector<float> block = after([&] { on.backend.attention_block(attention, step); });
      CHECK_CLOSE("attention", block.data(), doubles(singles).data(), elements, 0, 1.0 / 256);
      CHECK(singles != start);
      const std::vector<float> moe_singles = after([&] { on.backend.Backend::moe_block(moe); });
      const std::vector<float> moe_block = after([&] { on.backend.moe_block(moe); });
      CHECK_CLOSE("experts", moe_block.data(), doubles(moe_singles).data(), elements, 0, 1.0 / 256);
      CHECK(moe_singles != start);
    });
  }
}

// --- adapters -----------------------------------------------------------------------------------------------------------

TEST("cuda backend: tokens have the same bits beside tokens with other adapters as alone") {
  for_each_model([](OnDevice& on) {
    Adapted adapted(on);
    const auto all = HostAdapter(on.model.config, 3, true, 100).on(on.backend);
    const auto attention = HostAdapter(on.model.config, 8, false, 900).on(on.backend);
    const std::vector<const AdapterWeights*> kinds = {nullptr, all.get(), attention.get()};
    std::vector<std::vector<float>> alone;
    for (const AdapterWeights* adapter : kinds) alone.push_back(adapted.logits({adapter}).front());
    CHECK(alone[0] != alone[1] && alone[0] != alone[2] && alone[1] != alone[2]);
    for (const int tokens : {3, 5, kMostTokens}) {  // the first two could run fused
      std::vector<const AdapterWeights*> adapters;
      for (int t = 0; t < tokens; ++t) adapters.push_back(kinds[size_t(t % 3)]);
      const auto together = adapted.logits(adapters);
      for (int t = 0; t < tokens; ++t) CHECK(together[size_t(t)] == alone[size_t(t % 3)]);
    }
    CHECK(adapted.logits({nullptr, attention.get()})[1] == alone[2]);  // its experts run fused
    CHECK(adapted.logits({nullptr, nullptr})[1] == alone[0]);
  });
}

TEST("cuda backend: an adapter takes what is planned, and frees it after the steps that read it") {
  for_each_cuda_device([](test::CudaDevice& device) {
    const bool emulated = &device.module == gptoss_cuda_module();
    OnDevice on(device.module);
    Adapted adapted(on);
    const Config& c = on.model.config;
    const uint64_t table = on.backend.sizes().adapter_table_bytes(c.num_layers, c.num_experts);
    const HostAdapter host(c, 5, true, 7);
    const size_t before = emu::bytes_in_use();
    auto first = host.on(on.backend);
    const size_t with_work = before + on.backend.sizes().low_rank_bytes(limits_of(c));
    if (emulated) CHECK_EQ(uint64_t(emu::bytes_in_use()), with_work + table + host.bytes);
    const auto want = adapted.logits({first.get(), nullptr});
    auto second = host.on(on.backend);
    if (emulated) CHECK_EQ(uint64_t(emu::bytes_in_use()), with_work + 2 * (table + host.bytes));
    adapted.run({first.get(), nullptr});
    first.reset();  // while the step is queued
    CHECK(adapted.read(2) == want);
    if (emulated) CHECK_EQ(uint64_t(emu::bytes_in_use()), with_work + table + host.bytes);
    CHECK(adapted.logits({second.get(), nullptr}) == want);
    second.reset();
    if (emulated) CHECK_EQ(emu::bytes_in_use(), with_work);
  });
}

TEST("cuda backend: an adapter without room is refused, and the others stay") {
  emu::reset();
  OnDevice on(*gptoss_cuda_module());
  Adapted adapted(on);
  const HostAdapter host(on.model.config, 5, true, 7);
  const auto first = host.on(on.backend);
  const auto want = adapted.logits({first.get()});
  const size_t used = emu::bytes_in_use();
  emu::set_machine({.memory_bytes = used + host.bytes});  // no room for the table
  CHECK_THROWS(Code::kOutOfMemory, "for an adapter", host.on(on.backend));
  CHECK_EQ(emu::bytes_in_use(), used);
  CHECK(adapted.logits({first.get()}) == want);
  emu::reset();
}

// --- launches -------------------------------------------------------------------------------------------------------------

static std::vector<std::string> launches;

template <typename Argument>
static bool fetches(const Argument& argument) {
  if constexpr (std::is_same_v<Argument, cuda::Prefetch>) return argument.from != nullptr;
  return false;
}

// Records the name of each launched kernel, and whether it prefetches.
template <auto Kernel, typename Result, typename... Arguments>
static void record(cuda::Module& module, const char* name, Result (*launch)(Arguments...)) {
  static const char* recorded;
  static Result (*inner)(Arguments...);
  recorded = name;
  inner = launch;
  module.*Kernel = [](Arguments... arguments) -> Result {
    launches.push_back(str(recorded, (false || ... || fetches<std::remove_cvref_t<Arguments>>(arguments)) ? "+" : ""));
    return inner(arguments...);
  };
}

static cuda::Module recording_module() {
  cuda::Module module = *gptoss_cuda_module();
#define OSS_RECORD(name) record<&cuda::Module::name>(module, #name, module.name);
  OSS_CUDA_KERNELS(OSS_RECORD)
#undef OSS_RECORD
  return module;
}

static std::string launched_names() {
  std::string names;
  for (const std::string& name : launches) names += str(names.empty() ? "" : " ", name);
  return names;
}

TEST("cuda backend: the launches of a step") {
  emu::reset();
  const cuda::Module module = recording_module();
  OnDevice on(module);
  Forward forward(on.model, on.backend, limits_of(on.model.config), nullptr);
  const KvStorage kv(on.model.config, on.backend, kKvBF16, {kMostTokens, kMostTokens});
  const auto of_step = [&](int tokens) {
    launches.clear();
    CHECK(forward.run(on.step(tokens), kv, {}));
    return launched_names();
  };
  // "+": it fetches the next layer's q, k and v.
  const std::string few =
      "embed norm_qkv attention_split linear+ norm_linear few_experts norm_qkv attention_split linear norm_linear "
      "few_experts gather_rows rms_norm linear";
  const std::string many =
      "embed rms_norm qkv attention_split linear+ rms_norm linear router experts rms_norm qkv attention_split linear "
      "rms_norm linear router experts gather_rows rms_norm linear";
  for (const auto& [tokens, expected] : {std::pair(2, few), {kMostTokens, many}}) {
    CHECK_EQ(of_step(tokens), expected);
    CHECK_EQ(of_step(tokens), expected);  // recorded
    CHECK_EQ(of_step(tokens), "");        // repeated
  }
}

TEST("cuda backend: the launches of a step with adapters, which is not recorded") {
  emu::reset();
  const cuda::Module module = recording_module();
  OnDevice on(module);
  Adapted adapted(on);
  const auto names_of = [&](const std::vector<const AdapterWeights*>& adapters) {
    launches.clear();
    adapted.run(adapters);
    return launched_names();
  };
  const auto all = HostAdapter(on.model.config, 3, true, 100).on(on.backend);
  const auto attention = HostAdapter(on.model.config, 8, false, 900).on(on.backend);
  const std::string of_all =
      "embed rms_norm qkv_low_rank attention_split linear low_rank rms_norm linear low_rank router experts_low_rank "
      "rms_norm qkv_low_rank attention_split linear low_rank rms_norm linear low_rank router experts_low_rank "
      "gather_rows rms_norm linear low_rank";
  const std::string of_attention =  // the experts run fused
      "embed rms_norm qkv_low_rank attention_split linear low_rank norm_linear few_experts rms_norm qkv_low_rank "
      "attention_split linear low_rank norm_linear few_experts gather_rows rms_norm linear";
  for (int repeat = 0; repeat < 3; ++repeat) {
    CHECK_EQ(names_of({attention.get(), all.get()}), of_all);
    CHECK_EQ(names_of({nullptr, attention.get()}), of_attention);
  }
}

}  // namespace oss
