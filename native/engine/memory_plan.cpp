#include "native/engine/memory_plan.h"

#include <algorithm>
#include <iomanip>

#include "native/base/str.h"
#include "native/model/step_limits.h"

namespace oss {

// A request for the logits of many positions gets them in portions of this many rows: 51 MB for the full vocabulary.
constexpr int kLogitRows = 64;

// Memory that the plan does not use. On a GPU, 96 recorded graphs take up to 200 MB. The driver takes the rest for the
// kernels that it loads, and loading a model takes pinned slots and their copies. On a CPU it is for this process: its
// heap, and compiled constraints (256 MiB at most).
constexpr uint64_t kReserved = 512ull << 20;

// On a CPU, weights that do not fit are read from the disk again and again. A conversation must be possible even so.
constexpr uint64_t kLeastKvOnHost = 1ull << 30;

// Below this size packing takes too short to need a file.
constexpr uint64_t kPackedInMemory = 1ull << 30;

static std::string gigabytes(uint64_t bytes) {
  return str(std::setprecision(12), double(bytes / 10'000'000) / 100, " GB");
}

bool wants_packed_file(const EngineOptions& options, uint64_t file_bytes) {
  if (options.packed_weights == "memory" || file_bytes == 0) return false;
  return options.packed_weights != "auto" || file_bytes >= kPackedInMemory;
}

static StepLimits step_limits(const PlanInputs& inputs, int max_sequences) {
  const Config& config = inputs.config;
  const EngineOptions& options = inputs.options;
  const int batch = options.max_batch_tokens > 0 ? options.max_batch_tokens : inputs.sizes.defaults().max_batch_tokens;
  return step_limits(config, {.tokens = std::max(batch, max_sequences),  // room for the decode of every sequence
                              .sequences = max_sequences,
                              .rows = std::max(max_sequences, kLogitRows),
                              .max_pages = int(pages_of(checked_context(config, options.context_length)))});
}

static uint64_t workspace_bytes(const PlanInputs& inputs, const StepLimits& limits) {
  const BackendSizes& sizes = inputs.sizes;
  return Forward::workspace_bytes(limits, sizes) + sizes.workspace_bytes(limits) +
         (inputs.adapter_bytes > 0 ? sizes.low_rank_bytes(limits) : 0);
}

MemoryNeeds memory_needs(const PlanInputs& inputs) {
  const BackendSizes& sizes = inputs.sizes;
  MemoryNeeds needs;
  needs.kv_type = inputs.options.kv_type.value_or(sizes.defaults().kv_type);
  needs.limits = step_limits(inputs, inputs.options.max_sequences);
  sizes.check(needs.limits, needs.kv_type);
  needs.weights =
      weight_bytes(inputs.config, sizes, inputs.experts_in_file, inputs.tensors, inputs.options.expert_weights);
  needs.adapter_bytes = inputs.adapter_bytes;
  needs.workspace_bytes = workspace_bytes(inputs, needs.limits);
  needs.reserved_bytes = kReserved;
  return needs;
}

int conversations(const PlanInputs& inputs, const MemoryNeeds& needs, KvType type, int64_t context,
                  uint64_t free_bytes) {
  const auto fit = [&](int count) {
    const StepLimits limits = step_limits(inputs, std::max(count, inputs.options.max_sequences));
    const KvSizes kv(inputs.config, type, limits.sequences, limits.tokens);
    return needs.bytes() - needs.workspace_bytes + workspace_bytes(inputs, limits) +
               kv.bytes(count * pages_of(context)) <=
           free_bytes;
  };
  int least = 0, most = kMostSequences;
  while (least < most) {
    const int middle = least + (most - least + 1) / 2;
    if (fit(middle)) {
      least = middle;
    } else {
      most = middle - 1;
    }
  }
  return least;
}

int64_t longest_context(const PlanInputs& inputs, const MemoryNeeds& needs, KvType type, int conversations,
                        uint64_t free_bytes) {
  if (free_bytes < needs.bytes()) return 0;
  const KvSizes kv(inputs.config, type, needs.limits.sequences, needs.limits.tokens);
  const int64_t model = inputs.config.max_context;
  const int64_t pages = kv.most_pages(free_bytes - needs.bytes(), conversations * pages_of(model));
  return std::min(model, pages / conversations * kPageTokens);
}

// The bytes of a KV cache whose size is left open. A device is for the engine alone; of a computer's memory, and of a
// GPU that shares it, half is left to others.
static uint64_t automatic_kv_bytes(const MemoryNeeds& needs, const DeviceMemory& memory) {
  const auto after = [&](uint64_t bytes) { return memory.free_bytes > bytes ? memory.free_bytes - bytes : 0; };
  const uint64_t left = after(needs.bytes());
  if (memory.dedicated) return memory.shared ? left / 2 : left;
  return std::min(std::max(left, kLeastKvOnHost), after(needs.packed_bytes()) / 2);
}

static void check_device(const MemoryPlan& plan, uint64_t kv_bytes, uint64_t left) {
  if (left > 0 && kv_bytes <= left) return;
  const DeviceMemory& memory = plan.memory;
  const bool can_have_more = plan.bytes() + kv_bytes < memory.most_bytes;  // enough
  throw Error(Code::kOutOfMemory,
              str("the model needs ", gigabytes(plan.weights.mapped + plan.packed_bytes()), " for weights, ",
                  gigabytes(plan.workspace_bytes), " for activations",
                  kv_bytes > 0 ? str(", ", gigabytes(kv_bytes), " for kvCache.bytes") : "", " and ",
                  gigabytes(plan.reserved_bytes), " besides; the device has ", gigabytes(memory.free_bytes),
                  " free of ", gigabytes(memory.total_bytes),
                  ": free some, or lower maxBatchTokens, maxSequences, contextLength or kvCache.bytes",
                  can_have_more ? ", or " : "", can_have_more ? memory.remedy : ""));
}

// Memory that is promised but missing would end the process later, in the middle of a request.
static void check_host(const MemoryPlan& plan, uint64_t kv_bytes, ExpertWeights experts) {
  const DeviceMemory& memory = plan.memory;
  if (kv_bytes > memory.free_bytes) {
    throw Error(Code::kOutOfMemory,
                str("kvCache.bytes asks for ", gigabytes(kv_bytes), ", and free is ", gigabytes(memory.free_bytes),
                    " (", memory.why, "): ask for less, or free some"));
  }
  if (plan.workspace_bytes > memory.free_bytes) {
    throw Error(Code::kOutOfMemory, str("maxBatchTokens, maxSequences and contextLength take ",
                                        gigabytes(plan.workspace_bytes), " for activations, and free is ",
                                        gigabytes(memory.free_bytes), " (", memory.why, "): lower them, or free some"));
  }
  if (plan.packed_bytes() + plan.workspace_bytes > memory.free_bytes) {
    const char* advice = experts == ExpertWeights::kBF16
                             ? "use expertWeights \"mxfp4\", which takes a quarter of the memory"
                             : "use the release with dense weights in bf16, which are not copied";
    throw Error(Code::kOutOfMemory, str("copies of weights take ", gigabytes(plan.weights.copied), ", adapters ",
                                        gigabytes(plan.adapter_bytes), " and activations ",
                                        gigabytes(plan.workspace_bytes), ", and free is ", gigabytes(memory.free_bytes),
                                        " (", memory.why, "): free some, load fewer adapters, or ", advice));
  }
}

MemoryPlan plan_memory(const PlanInputs& inputs, const DeviceMemory& memory) {
  const EngineOptions& options = inputs.options;
  MemoryPlan plan{memory_needs(inputs), memory, {}};
  const uint64_t available = automatic_kv_bytes(plan, memory);
  if (memory.dedicated) {
    check_device(plan, options.kv_bytes, available);
  } else {
    check_host(plan, options.kv_bytes, options.expert_weights);
  }
  const KvNeeds needs{
      .context_length = options.context_length,
      .max_sequences = options.max_sequences,
      .max_tokens = plan.limits.tokens,
      .type = plan.kv_type,
      .bytes = options.kv_bytes,
      .contexts = memory.dedicated && !memory.shared ? options.max_sequences : std::min(4, options.max_sequences)};
  try {
    plan.kv = plan_kv_cache(inputs.config, needs, available);
  } catch (const Error& error) {
    if (error.code() != Code::kOutOfMemory || options.kv_bytes > 0) throw;
    throw Error(error.code(), str(error.what(), "; free is ", gigabytes(memory.free_bytes), " (", memory.why, ")"));
  }
  plan.limits.max_pages = int(pages_of(plan.kv.context_length));
  return plan;
}

uint64_t most_adapter_bytes(const PlanInputs& inputs, const MemoryPlan& plan, uint64_t kv_bytes) {
  const uint64_t work = inputs.adapter_bytes > 0 ? 0 : inputs.sizes.low_rank_bytes(plan.limits);  // not planned yet
  const uint64_t others = plan.weights.copied + plan.workspace_bytes + work + plan.reserved_bytes + kv_bytes;
  return plan.memory.free_bytes - std::min(plan.memory.free_bytes, others);
}

}  // namespace oss
