#include "native/grammar/budget.h"

#include "native/base/error.h"
#include "native/base/str.h"

namespace oss::grammar {

void Budget::check(Work kind) {
  constexpr std::array<const char*, kKinds> kWords = {
      "schemas that are compiled or merged", "bytes of schemas that are read or copied",
      "comparisons of schemas with one another", "nodes that are made or passed"};
  uncounted_ = 0;
  if (cancelled_ != nullptr && cancelled_->load(std::memory_order_relaxed)) {
    throw Error(Code::kCancelled, "compiling the constraint was cancelled");
  }
  const uint64_t limit = kLimits[size_t(kind)];
  const char* words = kWords[size_t(kind)];
  if (part_[size_t(kind)] > limit) {
    throw Error(Code::kInvalidArgument, str("too large to compile: more than ", limit, " ", words));
  }
  if (whole_[size_t(kind)] > kParts * limit) {
    throw Error(Code::kInvalidArgument, str("too large to compile, all schemas of the constraint together: more than ",
                                            kParts * limit, " ", words));
  }
}

}  // namespace oss::grammar
