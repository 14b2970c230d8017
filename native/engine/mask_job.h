// Makes the mask of a slow constraint beside the steps: its sequence sits out until it is there, and nobody else waits.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "native/base/error.h"
#include "native/engine/job_thread.h"
#include "native/grammar/constraint.h"
#include "native/grammar/matcher.h"

namespace oss {

struct MaskJob : Job {
  bool work() override;
  const grammar::TokenMask* mask() const { return mask_; }  // the matcher's, once it is done

  std::shared_ptr<grammar::Matcher> matcher;  // the job's own until it is over
  int64_t tokens_left = 0;
  std::shared_ptr<grammar::Constraints> constraints;
  std::optional<Error> failure{};  // why there is none
  std::function<void()> done;      // called on the thread, unless it was cancelled

 private:
  const grammar::TokenMask* mask_ = nullptr;
};

}  // namespace oss
