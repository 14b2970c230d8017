#include "native/engine/model_plan.h"

#include <algorithm>
#include <utility>

#include "native/base/error.h"
#include "native/base/str.h"
#include "native/checkpoint/checkpoint.h"

namespace oss {
namespace {

// The memory of the query, or of this machine; then `info` gets the name of the device.
DeviceMemory memory_for(const PlanQuery& query, DeviceInfo& info) {
  const bool is_cpu = info.backend == "cpu";
  if (query.memory_bytes > 0) {
    return {.free_bytes = query.memory_bytes,
            .total_bytes = query.memory_bytes,
            .dedicated = !is_cpu,
            .shared = info.backend == "metal",
            .why = "given"};
  }
  const std::unique_ptr<Backend> here = make_backend({.backend = query.options.backend, .threads = 1});
  info.device = here->info().device;
  if (!is_cpu) info.isa = here->info().isa;
  return here->memory();
}

std::vector<KvCapacity> capacities(const PlanQuery& query, const PlanInputs& inputs, const ModelPlan& plan) {
  std::vector<KvCapacity> found;
  for (const KvType type : {kKvF32, kKvBF16, kKvFP8}) {
    try {
      inputs.sizes.check(plan.needs.limits, type);
    } catch (const Error&) {
      continue;  // the backend does not have this type
    }
    KvCapacity& one = found.emplace_back(KvCapacity{.type = type, .conversations = {}, .longest_context = 0});
    for (const int64_t context : plan.contexts) {
      one.conversations.push_back(conversations(inputs, plan.needs, type, context, plan.memory.free_bytes));
    }
    one.longest_context = longest_context(inputs, plan.needs, type, query.wanted_conversations, plan.memory.free_bytes);
  }
  return found;
}

// Repeatable steps run in portions, which are not planned here.
std::vector<StepKernels> kernels_of(const ModelPlan& plan, const EngineOptions& options) {
  if (plan.device.backend != "metal" || options.repeatable) return {};
  std::vector<int> windows;
  for (int layer = 0; layer < plan.config.num_layers; ++layer) windows.push_back(plan.config.window_of(layer));
  std::vector<StepKernels> found;
  for (const auto& [name, shape] :
       {std::pair{"decode", metal::PlannedStep{.tokens = 1, .sequences = 1, .keys = int(plan.wanted_context) - 1}},
        std::pair{"prefill", metal::PlannedStep{.tokens = plan.needs.limits.tokens}}}) {
    found.push_back(
        {name, shape, metal::plan_step(plan.needs.limits, windows, options.dense_weights, plan.needs.kv_type, shape)});
  }
  return found;
}

// Tells the checkpoint which tensors merged adapters change: these are copies.
void merge_for_plan(const EngineOptions& options, Checkpoint& checkpoint) {
  const bool merges = std::any_of(options.adapters.begin(), options.adapters.end(),
                                  [](const AdapterOption& adapter) { return adapter.merge; });
  if (merges && checkpoint.tensors.empty()) {
    throw Error(Code::kModelNotFound,
                str(checkpoint.path, ": expected the weights that adapters are merged into, found the config alone"),
                "adapters");
  }
  merge_adapters(options.adapters, checkpoint, {}, MeasureMerge::kNothing);
}

}  // namespace

ModelPlan plan_model(const PlanQuery& query) {
  const EngineOptions& options = query.options;
  const BackendOptions backend{.backend = options.backend,
                               .threads = options.threads,
                               .numerics = options.numerics,
                               .dense_weights = options.dense_weights,
                               .expert_weights = options.expert_weights,
                               .repeatable = options.repeatable};
  PlannedDevice device = planned_device(backend, query.isa);
  ModelPlan plan;
  const std::unique_ptr<Checkpoint> checkpoint = open_headers(query.model, options.expert_weights);
  const Config& config = plan.config = checkpoint->config;
  merge_for_plan(options, *checkpoint);
  plan.device = std::move(device.info);
  plan.memory = memory_for(query, plan.device);

  const int64_t most = plan.config.max_context;
  for (int64_t context = kLeastContext; context < most; context *= 2) plan.contexts.push_back(context);
  plan.contexts.push_back(most);
  plan.wanted_context = query.wanted_context > 0 ? query.wanted_context : std::min(kLeastContext, most);

  plan.file_bytes = checkpoint->files.empty()
                        ? weight_bytes(config, *device.sizes, false, nullptr, options.expert_weights).canonical
                        : checkpoint->file_bytes;
  plan.experts_in_file =
      device.sizes->packs_experts_to_file() && wants_packed_file(options, query.has_files ? plan.file_bytes : 0);
  const PlanInputs inputs{
      .config = plan.config,
      .options = options,
      .sizes = *device.sizes,
      .experts_in_file = plan.experts_in_file,
      .tensors = &checkpoint->tensors,
      .adapter_bytes = bytes_of(read_named_adapters(options.adapters, config), config, *device.sizes)};
  plan.needs = memory_needs(inputs);
  const StepLimits& limits = plan.needs.limits;
  const KvSizes kv(plan.config, plan.needs.kv_type, limits.sequences, limits.tokens);
  plan.wanted_bytes = plan.needs.bytes() + kv.bytes(query.wanted_conversations * pages_of(plan.wanted_context));
  plan.possible_conversations =
      conversations(inputs, plan.needs, plan.needs.kv_type, plan.wanted_context, plan.memory.free_bytes);
  plan.fits = plan.wanted_bytes <= plan.memory.free_bytes;
  try {
    plan.kv = plan_memory(inputs, plan.memory).kv;
    plan.kv_bytes = kv.bytes(plan.kv->pages[kKvFull]);
  } catch (const Error& error) {
    if (error.code() != Code::kOutOfMemory) throw;
  }
  plan.capacities = capacities(query, inputs, plan);
  plan.kernels = kernels_of(plan, options);
  return plan;
}

}  // namespace oss
