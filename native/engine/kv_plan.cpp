#include "native/engine/kv_plan.h"

#include <algorithm>

#include "native/base/str.h"

namespace oss {

static int64_t pages_of(int64_t tokens) { return (tokens + kPageTokens - 1) / kPageTokens; }

KvPlan plan_kv_cache(const Config& config, const EngineOptions& options, uint64_t available_bytes) {
  const int64_t context = options.context_length > 0 ? options.context_length : config.max_context;
  if (context > config.max_context) {
    throw Error(Code::kInvalidArgument,
                str("contextLength ", context, " is more than the model's ", config.max_context, " tokens"));
  }
  const uint64_t full_bytes = KvStorage::bytes_per_page(config, options.kv_type, kKvFull);
  const uint64_t window_bytes = KvStorage::bytes_per_page(config, options.kv_type, kKvWindow);
  // Window pages: what one chunk and its window take, the windows of all other sequences, and as many again to start from
  // where others have been. Never more than full ones.
  const int64_t chunk = std::max(options.max_batch_tokens, options.max_sequences);
  const int64_t chunk_pages = pages_of(config.sliding_window + chunk) + 1;
  const int64_t window_pages = 2 * (chunk_pages + (options.max_sequences - 1) * (pages_of(config.sliding_window) + 1));
  const auto window_for = [&](int64_t full) { return window_bytes == 0 ? 0 : std::min(full, std::max(window_pages, full / 4)); };
  const auto bytes_for = [&](int64_t full) {
    return uint64_t(full) * full_bytes + uint64_t(window_for(full)) * window_bytes;
  };

  const int64_t one_context = pages_of(context);
  const uint64_t budget = options.kv_bytes > 0 ? options.kv_bytes : available_bytes;
  int64_t most = options.kv_bytes > 0 ? (int64_t(1) << 30) : one_context * std::min(4, options.max_sequences);
  int64_t pages = 0;  // the largest number that fits: bytes_for grows with it
  while (pages < most) {
    const int64_t middle = pages + (most - pages + 1) / 2;
    if (bytes_for(middle) <= budget) {
      pages = middle;
    } else {
      most = middle - 1;
    }
  }
  if (pages < 1 || (options.context_length > 0 && pages < one_context)) {
    throw Error(Code::kOutOfMemory,
                str("a KV cache for ", context, " tokens needs ", bytes_for(one_context),
                    " bytes, and kvCache.bytes or half of the free memory allows ", budget,
                    ": lower contextLength or raise kvCache.bytes"));
  }
  return {.pages = {int(pages), int(window_for(pages))}, .context_length = std::min(context, pages * kPageTokens)};
}

}  // namespace oss
