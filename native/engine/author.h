// What writes a completion in the model's stead. The model computes all the same: an author's tokens are drawn from its logits.
#pragma once
#include <cstdint>
#include <optional>

#include "native/base/error.h"
#include "native/grammar/matcher.h"

namespace oss {

class Author {
 public:
  virtual ~Author() = default;

  // At submit. Throws kInvalidArgument unless every token that it writes is of this vocabulary.
  virtual void check(int64_t vocab) const = 0;
  // What a choice writes at this position of its completion; none: the completion ends there.
  virtual std::optional<int32_t> token(int choice, int64_t position) const = 0;
  // Where the constraint allows these tokens alone: why it cannot write what it would; none: it can.
  virtual std::optional<Error> refusal(int choice, int64_t position, const grammar::TokenMask& allowed) const = 0;

  bool is_held = false;     // to the constraint of the request; else that is ignored
  int tokens_per_step = 1;  // told of together
  double step_ms = 0;       // that so many take
};

}  // namespace oss
