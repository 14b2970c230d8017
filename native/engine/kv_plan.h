// How large the KV cache becomes. Pure: config, options and a number of bytes in, pages out.
#pragma once
#include <array>
#include <cstdint>

#include "native/engine/engine.h"

namespace oss {

struct KvPlan {
  std::array<int, kKvGroups> pages;  // of each group
  int64_t context_length;            // that fits
};

// available_bytes: what may be used when the options leave the size open.
// Throws kInvalidArgument when more context is asked for than the model has, kOutOfMemory with numbers when the context
// that is asked for does not fit.
KvPlan plan_kv_cache(const Config& config, const EngineOptions& options, uint64_t available_bytes);

}  // namespace oss
