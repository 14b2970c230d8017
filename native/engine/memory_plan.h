// What an engine will take of its device's memory: decided before anything is loaded, and kept.
#pragma once
#include <cstdint>

#include "native/engine/engine.h"
#include "native/engine/kv_plan.h"

namespace oss {

struct MemoryPlan {
  StepLimits limits;
  DeviceMemory memory;  // before anything was taken
  KvType kv_type = kKvF32;
  KvPlan kv;
  uint64_t weights_bytes = 0;    // beside the mapped files
  uint64_t workspace_bytes = 0;  // activations, and the backend's own
};

// Throws kOutOfMemory with the numbers when it does not fit, kUnsupported when the backend does not run such a model.
MemoryPlan plan_memory(const Config& config, const EngineOptions& options, Backend& backend);

}  // namespace oss
