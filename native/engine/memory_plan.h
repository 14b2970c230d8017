// The memory that an engine uses on its device, decided before anything is loaded and never exceeded.
#pragma once
#include <cstdint>

#include "native/engine/engine.h"
#include "native/engine/kv_plan.h"

namespace oss {

struct MemoryPlan {
  StepLimits limits;
  DeviceMemory memory;  // before anything was allocated
  KvType kv_type = kKvF32;
  KvPlan kv;
  uint64_t weights_bytes = 0;    // in addition to the mapped files
  uint64_t workspace_bytes = 0;  // activations, and buffers of the backend
};

// Throws kOutOfMemory with the numbers when the plan does not fit, kUnsupported when the backend cannot run the model.
MemoryPlan plan_memory(const Config& config, const EngineOptions& options, Backend& backend);

}  // namespace oss
