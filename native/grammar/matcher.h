// One completion on its way through its constraint: which tokens may come next, and what the one that came means.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "native/grammar/frame.h"

namespace oss::grammar {

// A schema that was not supported, in whose place is now any object or value.
struct Relaxed {
  std::optional<std::string> tool;  // none: the format of the final message, or of the text
  std::string reason;
};

// What a request asks for; shared by its choices and never changed.
struct Constraint {
  Frame frame;
  int64_t analysis_tokens = -1;  // of the whole turn; -1: no limit
  std::vector<Relaxed> relaxed{};
};

class Matcher {
 public:
  explicit Matcher(std::shared_ptr<const Constraint> constraint);

  // The tokens that may come next when `tokens_left` may, this one included. Those that leave no valid end within that
  // many are out; where none leaves one, those that come nearest to an end remain. At least one token is allowed before
  // done(). Valid until the next call. Null when it takes more than the slice: then the same is asked again, on any thread.
  // Throws as Cursor::add_tokens().
  const TokenMask* mask(int64_t tokens_left, Slice& slice);
  const TokenMask& mask(int64_t tokens_left);  // all of it, now
  // Waits for nobody. Throws kInternal for a token that the last mask did not allow.
  void accept(int32_t token);
  // The completion is whole: nothing may follow.
  bool done() const { return at_ == Frame::kDone; }

 private:
  void enter(Frame::PlaceId place);
  bool is_open(const Frame::Way& way) const { return !way.to_analysis || analysis_left_ != 0; }

  std::shared_ptr<const Constraint> constraint_;
  Frame::PlaceId at_ = Frame::kDone;
  std::unique_ptr<Cursor> cursor_;  // in the place's grammar
  int64_t analysis_left_;           // < 0: no limit
  TokenMask mask_;
};

}  // namespace oss::grammar
