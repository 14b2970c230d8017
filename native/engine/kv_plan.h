// How large the KV cache becomes. Pure: config, needs and a number of bytes in, pages out.
#pragma once
#include <array>
#include <cstdint>

#include "native/model/config.h"
#include "native/model/forward.h"

namespace oss {

struct KvNeeds {
  int64_t context_length = 0;  // 0 = the model's, or what fits if that is less
  int max_sequences = 0;
  int max_tokens = 0;  // of a step
  KvType type = kKvF32;
  uint64_t bytes = 0;  // 0 = what is available, for `contexts` full contexts at most
  int contexts = 0;
};

struct KvPlan {
  std::array<int, kKvGroups> pages{};  // of each group
  int64_t context_length = 0;          // that fits
};

// available_bytes: what may be used when the needs leave the size open.
// Throws kInvalidArgument when more context is asked for than the model has, kOutOfMemory with numbers when the context
// that is asked for does not fit.
KvPlan plan_kv_cache(const Config& config, const KvNeeds& needs, uint64_t available_bytes);

}  // namespace oss
