// The memory that an engine uses on its device, decided before anything is loaded and never exceeded. The same code
// plans for a machine that is elsewhere (model_plan.h).
#pragma once
#include <cstdint>

#include "native/engine/engine.h"
#include "native/engine/kv_plan.h"
#include "native/model/pack.h"

namespace oss {

struct PlanInputs {
  const Config& config;
  const EngineOptions& options;
  const BackendSizes& sizes;
  bool experts_in_file = false;      // the packed experts are mapped from a file of their own
  const Tensors* tensors = nullptr;  // those that are packed; null: weights are in files as OpenAI's
  uint64_t adapter_bytes = 0;        // of adapters that requests choose; if any, steps have work memory for them
};

// What an engine takes whatever the size of its KV cache.
struct MemoryNeeds {
  StepLimits limits;
  KvType kv_type = kKvF32;
  WeightBytes weights;
  uint64_t adapter_bytes = 0;
  uint64_t workspace_bytes = 0;  // activations, and buffers of the backend
  uint64_t reserved_bytes = 0;   // for everything that is not planned

  uint64_t packed_bytes() const { return weights.copied + adapter_bytes; }
  uint64_t bytes() const { return weights.mapped + packed_bytes() + workspace_bytes + reserved_bytes; }
};

// Throws kUnsupported when the backend cannot run the model, kInvalidArgument for more context than the model has.
MemoryNeeds memory_needs(const PlanInputs& inputs);

// The most conversations of `context` tokens that run at once in `free_bytes`, all of which the cache may take; at most
// kMostSequences. More sequences than the options say take more workspace; that is counted.
int conversations(const PlanInputs& inputs, const MemoryNeeds& needs, KvType type, int64_t context,
                  uint64_t free_bytes);
constexpr int kMostSequences = 4096;  // lib/generation/options.ts allows no more

// The longest context, at most the model's, of which so many conversations run at once; 0: none.
int64_t longest_context(const PlanInputs& inputs, const MemoryNeeds& needs, KvType type, int conversations,
                        uint64_t free_bytes);

struct MemoryPlan : MemoryNeeds {
  DeviceMemory memory;  // before anything was allocated
  KvPlan kv;
};

// Throws as memory_needs(), and kOutOfMemory with the numbers when the plan does not fit.
MemoryPlan plan_memory(const PlanInputs& inputs, const DeviceMemory& memory);

// The bytes that adapters of requests can take in all, those of the plan included, so that the rest of the plan holds.
// Weights in mapped files do not count: the system can drop their pages and read them again.
uint64_t most_adapter_bytes(const PlanInputs& inputs, const MemoryPlan& plan, uint64_t kv_bytes);

// Whether a backend that can map its packed experts from a file does so, if a folder takes one. file_bytes: of the
// checkpoint; 0: it has no files.
bool wants_packed_file(const EngineOptions& options, uint64_t file_bytes);

}  // namespace oss
