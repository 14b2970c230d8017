#include "native/engine/mask_job.h"

#include "native/base/trace.h"

namespace oss {

// About 10 ms: other slow constraints have their turns in between.
constexpr uint64_t kWorkOfTurn = 100'000;

bool MaskJob::work() {
  const auto is_over = [this] { return mask_ != nullptr || failure; };
  if (!is_over()) {
    TraceSpan span("masks", "mask");
    try {
      grammar::Slice slice{.work = kWorkOfTurn, .cancelled = &cancelled};
      mask_ = matcher->mask(tokens_left, slice);
    } catch (const std::exception& error) {
      failure = as_error(error);
    }
    constraints->trim();
  }
  if (is_over() && !cancelled) done();
  return is_over();
}

}  // namespace oss
