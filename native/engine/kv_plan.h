// The size of the KV cache: pages and bytes, computed from the config, the needs and a number of bytes.
#pragma once
#include <array>
#include <cstdint>

#include "native/model/config.h"
#include "native/model/forward.h"

namespace oss {

// The bytes of a KV cache. They follow from its pages for layers with full attention, which hold all tokens. Layers with
// a window get as many pages as the running sequences need there, and as many again for prefix reuse.
class KvSizes {
 public:
  // max_sequences run at once; max_tokens is the most tokens of a step.
  KvSizes(const Config& config, KvType type, int max_sequences, int max_tokens);
  int64_t window_pages(int64_t full_pages) const;
  uint64_t bytes(int64_t full_pages) const;  // grows with the pages
  // The most pages, at most `limit`, whose bytes are within the budget.
  int64_t most_pages(uint64_t budget, int64_t limit) const;

 private:
  uint64_t full_bytes_, window_bytes_;  // of a page
  int64_t needed_window_pages_;
};

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

inline int64_t pages_of(int64_t tokens) { return (tokens + kPageTokens - 1) / kPageTokens; }

// The context of a request, or the model's. Throws kInvalidArgument when it is more than the model's.
int64_t checked_context(const Config& config, int64_t wanted);

// available_bytes: the memory that may be used when the needs do not set a size. Throws kInvalidArgument when more
// context is requested than the model has, and kOutOfMemory with numbers when the requested context does not fit.
KvPlan plan_kv_cache(const Config& config, const KvNeeds& needs, uint64_t available_bytes);

}  // namespace oss
