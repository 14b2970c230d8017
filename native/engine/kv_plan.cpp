#include "native/engine/kv_plan.h"

#include <algorithm>

#include "native/base/error.h"
#include "native/base/str.h"

namespace oss {

static int64_t pages_of(int64_t tokens) { return (tokens + kPageTokens - 1) / kPageTokens; }

KvPlan plan_kv_cache(const Config& config, const KvNeeds& needs, uint64_t available_bytes) {
  const int64_t context = needs.context_length > 0 ? needs.context_length : config.max_context;
  if (context > config.max_context) {
    throw Error(Code::kInvalidArgument,
                str("contextLength ", context, " is more than the model's ", config.max_context, " tokens"),
                "contextLength");
  }
  const uint64_t full_bytes = KvStorage::bytes_per_page(config, needs.type, kKvFull);
  const uint64_t window_bytes = KvStorage::bytes_per_page(config, needs.type, kKvWindow);
  // Window pages: one chunk with its window, the windows of all other sequences, and as many again for prefix reuse.
  // Never more than full pages.
  const int64_t chunk = needs.max_tokens;
  const int64_t chunk_pages = pages_of(config.sliding_window + chunk) + 1;
  const int64_t window_pages = 2 * (chunk_pages + (needs.max_sequences - 1) * (pages_of(config.sliding_window) + 1));
  const auto window_for = [&](int64_t full) {
    return window_bytes == 0 ? 0 : std::min(full, std::max(window_pages, full / 4));
  };
  const auto bytes_for = [&](int64_t full) {
    return uint64_t(full) * full_bytes + uint64_t(window_for(full)) * window_bytes;
  };

  const int64_t one_context = pages_of(context);
  const uint64_t budget = needs.bytes > 0 ? needs.bytes : available_bytes;
  int64_t most = needs.bytes > 0 ? (int64_t(1) << 30) : one_context * needs.contexts;
  int64_t pages = 0;  // the largest number that fits: bytes_for grows with it
  while (pages < most) {
    const int64_t middle = pages + (most - pages + 1) / 2;
    if (bytes_for(middle) <= budget) {
      pages = middle;
    } else {
      most = middle - 1;
    }
  }
  if (pages < 1 || (needs.context_length > 0 && pages < one_context)) {
    throw Error(Code::kOutOfMemory,
                str("a KV cache for ", context, " tokens needs ", bytes_for(one_context), " bytes, and there are ",
                    budget, " for it", ": lower contextLength, or raise kvCache.bytes where memory is left"));
  }
  return {.pages = {int(pages), int(window_for(pages))}, .context_length = std::min(context, pages * kPageTokens)};
}

}  // namespace oss
