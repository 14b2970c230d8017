#include "native/engine/memory_plan.h"

#include <algorithm>
#include <iomanip>

#include "native/base/str.h"
#include "native/model/pack.h"

namespace oss {

// A request for the logits of many positions gets them in portions of this many rows: 51 MB for the full vocabulary.
constexpr int kLogitRows = 64;

// Memory of a GPU that the plan does not use. 96 recorded graphs take up to 200 MB. The driver takes the rest for the
// kernels that it loads, and loading a model takes pinned slots and their copies.
constexpr uint64_t kLeftAlone = 512ull << 20;

static std::string gigabytes(uint64_t bytes) {
  return str(std::setprecision(12), double(bytes / 10'000'000) / 100, " GB");
}

MemoryPlan plan_memory(const Config& config, const EngineOptions& options, Backend& backend) {
  const BackendDefaults defaults = backend.defaults();
  const int batch = options.max_batch_tokens > 0 ? options.max_batch_tokens : defaults.max_batch_tokens;
  const int64_t context = options.context_length > 0 ? options.context_length : config.max_context;
  MemoryPlan plan;
  plan.kv_type = options.kv_type.value_or(defaults.kv_type);
  plan.limits = {
      .tokens = std::max(batch, options.max_sequences),  // room for the decode of every sequence
      .sequences = options.max_sequences,
      .rows = std::max(options.max_sequences, kLogitRows),
      .max_pages = int((context + kPageTokens - 1) / kPageTokens),
      .hidden = config.hidden,
      .intermediate = config.intermediate,
      .heads = config.num_heads,
      .kv_heads = config.num_kv_heads,
      .head_dim = config.head_dim,
      .experts = config.num_experts,
      .top_k = config.experts_per_token,
      .vocab = config.vocab,
      .window = config.sliding_window,
  };
  backend.check(plan.limits, plan.kv_type);
  plan.weights_bytes = packed_bytes(config, backend.packer());
  plan.workspace_bytes = Forward::workspace_bytes(plan.limits, backend) + backend.workspace_bytes(plan.limits);

  plan.memory = backend.memory();
  const DeviceMemory& memory = plan.memory;
  KvNeeds needs{.context_length = options.context_length,
                .max_sequences = options.max_sequences,
                .max_tokens = plan.limits.tokens,
                .type = plan.kv_type,
                .bytes = options.kv_bytes,
                .contexts = std::min(4, options.max_sequences)};
  uint64_t left = memory.free_bytes > plan.weights_bytes ? (memory.free_bytes - plan.weights_bytes) / 2 : 0;
  if (memory.dedicated) {
    const uint64_t taken = plan.weights_bytes + plan.workspace_bytes + kLeftAlone;
    left = memory.free_bytes > taken ? memory.free_bytes - taken : 0;
    if (left == 0 || options.kv_bytes > left) {
      throw Error(Code::kOutOfMemory,
                  str("the model needs ", gigabytes(plan.weights_bytes), " for weights, ",
                      gigabytes(plan.workspace_bytes), " for activations",
                      options.kv_bytes > 0 ? str(", ", gigabytes(options.kv_bytes), " for kvCache.bytes") : "", " and ",
                      gigabytes(kLeftAlone), " besides; the device has ", gigabytes(memory.free_bytes), " free of ",
                      gigabytes(memory.total_bytes),
                      ": free some, or lower maxBatchTokens, maxSequences, contextLength or kvCache.bytes"));
    }
    needs.contexts = options.max_sequences;
  }
  // Memory that is promised but missing would end the process later, in the middle of a request.
  if (!memory.dedicated && options.kv_bytes > memory.free_bytes) {
    throw Error(Code::kOutOfMemory,
                str("kvCache.bytes asks for ", gigabytes(options.kv_bytes), ", and free is ",
                    gigabytes(memory.free_bytes), " (", memory.why, "): ask for less, or free some"));
  }
  if (!memory.dedicated && plan.workspace_bytes > memory.free_bytes) {
    throw Error(Code::kOutOfMemory, str("maxBatchTokens, maxSequences and contextLength take ",
                                        gigabytes(plan.workspace_bytes), " for activations, and free is ",
                                        gigabytes(memory.free_bytes), " (", memory.why, "): lower them, or free some"));
  }
  try {
    plan.kv = plan_kv_cache(config, needs, left);
  } catch (const Error& error) {
    if (error.code() != Code::kOutOfMemory || options.kv_bytes > 0) throw;
    throw Error(error.code(), str(error.what(), "; free is ", gigabytes(memory.free_bytes), " (", memory.why, ")"));
  }
  plan.limits.max_pages = int((plan.kv.context_length + kPageTokens - 1) / kPageTokens);
  return plan;
}

}  // namespace oss
