#include "native/engine/kv_plan.h"

#include <algorithm>

#include "native/base/error.h"
#include "native/base/str.h"

namespace oss {

// One chunk with its window, and the windows of all other sequences.
static int64_t pages_in_windows(const Config& config, int max_sequences, int max_tokens) {
  const int64_t chunk_pages = pages_of(config.sliding_window + max_tokens) + 1;
  return chunk_pages + (max_sequences - 1) * (pages_of(config.sliding_window) + 1);
}

KvSizes::KvSizes(const Config& config, KvType type, int max_sequences, int max_tokens)
    : full_bytes_(KvStorage::bytes_per_page(config, type, kKvFull)),
      window_bytes_(KvStorage::bytes_per_page(config, type, kKvWindow)),
      needed_window_pages_(2 * pages_in_windows(config, max_sequences, max_tokens)) {}

// Never more than full pages.
int64_t KvSizes::window_pages(int64_t full_pages) const {
  return window_bytes_ == 0 ? 0 : std::min(full_pages, std::max(needed_window_pages_, full_pages / 4));
}

uint64_t KvSizes::bytes(int64_t full_pages) const {
  return uint64_t(full_pages) * full_bytes_ + uint64_t(window_pages(full_pages)) * window_bytes_;
}

int64_t KvSizes::most_pages(uint64_t budget, int64_t limit) const {
  int64_t pages = 0;
  while (pages < limit) {
    const int64_t middle = pages + (limit - pages + 1) / 2;
    if (bytes(middle) <= budget) {
      pages = middle;
    } else {
      limit = middle - 1;
    }
  }
  return pages;
}

int64_t checked_context(const Config& config, int64_t wanted) {
  if (wanted <= config.max_context) return wanted > 0 ? wanted : config.max_context;
  throw Error(Code::kInvalidArgument,
              str("contextLength ", wanted, " is more than the model's ", config.max_context, " tokens"),
              "contextLength");
}

KvPlan plan_kv_cache(const Config& config, const KvNeeds& needs, uint64_t available_bytes) {
  const int64_t context = checked_context(config, needs.context_length), one_context = pages_of(context);
  const KvSizes sizes(config, needs.type, needs.max_sequences, needs.max_tokens);
  const uint64_t budget = needs.bytes > 0 ? needs.bytes : available_bytes;
  const int64_t pages = sizes.most_pages(budget, needs.bytes > 0 ? int64_t(1) << 30 : one_context * needs.contexts);
  if (pages < 1 || (needs.context_length > 0 && pages < one_context)) {
    throw Error(Code::kOutOfMemory,
                str("a KV cache for ", context, " tokens needs ", sizes.bytes(one_context), " bytes, and there are ",
                    budget, " for it", ": lower contextLength, or raise kvCache.bytes where memory is left"));
  }
  return {.pages = {int(pages), int(sizes.window_pages(pages))},
          .context_length = std::min(context, pages * kPageTokens)};
}

}  // namespace oss
