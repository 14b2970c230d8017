// Makes the mask of a slow constraint on another thread. Only its sequence sits out until the mask is made.
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
  const grammar::TokenMask* mask() const { return mask_; }  // the matcher's mask, once the job is done

  std::shared_ptr<grammar::Matcher> matcher;  // used only by the job until it is done
  int64_t tokens_left = 0;
  std::shared_ptr<grammar::Constraints> constraints;
  std::optional<Error> failure{};  // why there is no mask
  std::function<void()> done;      // called on the job thread, unless the job was cancelled

 private:
  const grammar::TokenMask* mask_ = nullptr;
};

}  // namespace oss
