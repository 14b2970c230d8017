// The interface of an author, which supplies the tokens of a completion in place of the model. The model still runs:
// the author's tokens are drawn from its logits.
#pragma once
#include <cstdint>
#include <optional>

#include "native/base/error.h"
#include "native/grammar/matcher.h"

namespace oss {

class Author {
 public:
  virtual ~Author() = default;

  // Called at submit. Throws kInvalidArgument if the author writes a token outside a vocabulary of this size.
  virtual void check(int64_t vocab) const = 0;
  // Returns the token of a choice at this position of its completion; none: the completion ends there.
  virtual std::optional<int32_t> token(int choice, int64_t position) const = 0;
  // Returns the reason why the author cannot write its token where the constraint allows only `allowed`; none: it can.
  virtual std::optional<Error> refusal(int choice, int64_t position, const grammar::TokenMask& allowed) const = 0;

  bool is_held = false;     // the constraint of the request applies to the author's tokens; otherwise it is ignored
  int tokens_per_step = 1;  // reported together
  double step_ms = 0;       // the time that this many tokens take
};

}  // namespace oss
