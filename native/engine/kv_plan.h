// The size of the KV cache. A pure function: it computes the pages from the config, the needs and a number of bytes.
#pragma once
#include <array>
#include <cstdint>

#include "native/model/config.h"
#include "native/model/forward.h"

namespace oss {

struct KvNeeds {
  int64_t context_length = 0;  // 0 = the model's length, or what fits if that is less
  int max_sequences = 0;
  int max_tokens = 0;  // the most tokens of a step
  KvType type = kKvF32;
  uint64_t bytes = 0;  // 0 = the available bytes, for `contexts` full contexts at most
  int contexts = 0;
};

struct KvPlan {
  std::array<int, kKvGroups> pages{};  // pages of each group
  int64_t context_length = 0;          // the longest context that fits
};

// available_bytes: the memory that may be used when the needs do not set a size. Throws kInvalidArgument when more
// context is requested than the model has, and kOutOfMemory with numbers when the requested context does not fit.
KvPlan plan_kv_cache(const Config& config, const KvNeeds& needs, uint64_t available_bytes);

}  // namespace oss
