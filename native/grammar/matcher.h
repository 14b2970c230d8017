// The progress of one completion through its constraint. It computes the tokens that may come next and follows each
// token.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "native/grammar/frame.h"

namespace oss::grammar {

// A schema that was not supported and was replaced by any object or value.
struct Relaxed {
  std::optional<std::string> tool;  // none: the format of the final message, or of the text
  std::string reason;
};

// The compiled constraint of a request. Its choices share it, and it never changes.
struct Constraint {
  Frame frame;
  int64_t analysis_tokens = -1;  // of the whole turn; -1: no limit
  std::vector<Relaxed> relaxed{};
};

class Matcher {
 public:
  explicit Matcher(std::shared_ptr<const Constraint> constraint);

  // The tokens that may come next when `tokens_left` tokens remain, including this one. Where the frame ends in time,
  // tokens that leave no valid end within that number are excluded. If all would be, the tokens nearest to an end
  // remain. At least one token is allowed before done().
  //
  // Valid until the next call. Null when it takes more than the slice; the caller then repeats the call, on any thread.
  // Throws as Cursor::add_tokens().
  const TokenMask* mask(int64_t tokens_left, Slice& slice);
  const TokenMask& mask(int64_t tokens_left);  // the whole mask, at once
  // The last mask without its limit, where that is another one; else null. A token of this mask alone shows that the
  // completion would not end in time by itself.
  const TokenMask* without_limit() const { return mask_ != unlimited_ ? &unlimited_ : nullptr; }
  // Does not wait. Throws kInternal for a token that the last mask did not allow.
  void accept(int32_t token);
  // The completion is finished; no token may follow.
  bool done() const { return at_ == Frame::kDone; }

 private:
  void enter(Frame::PlaceId place);
  bool is_open(const Frame::Way& way) const { return !way.to_analysis || analysis_left_ != 0; }

  std::shared_ptr<const Constraint> constraint_;
  Frame::PlaceId at_ = Frame::kDone;
  std::unique_ptr<Cursor> cursor_;  // in the place's grammar
  int64_t analysis_left_;           // < 0: no limit
  TokenMask mask_, unlimited_;
};

}  // namespace oss::grammar
