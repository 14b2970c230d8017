#include "native/grammar/matcher.h"

#include <algorithm>

#include "native/base/error.h"
#include "native/base/str.h"

namespace oss::grammar {

Matcher::Matcher(std::shared_ptr<const Constraint> constraint)
    : constraint_(std::move(constraint)), analysis_left_(constraint_->analysis_tokens) {
  enter(constraint_->frame.start());
}

void Matcher::enter(Frame::PlaceId place) {
  if (place == at_) return;
  at_ = place;
  const std::shared_ptr<Grammar>& grammar = constraint_->frame.place(place).grammar;
  cursor_ = grammar != nullptr ? std::make_unique<Cursor>(grammar) : nullptr;
}

const TokenMask& Matcher::mask(int64_t tokens_left) {
  Slice all;
  return *mask(tokens_left, all);
}

const TokenMask* Matcher::mask(int64_t tokens_left, Slice& slice) {
  const Frame& frame = constraint_->frame;
  const Frame::Place& place = frame.place(at_);
  constexpr int64_t kNoLimit = int64_t(1) << 40;
  const int64_t left = frame.ends_in_time() ? tokens_left - 1 : kNoLimit;  // after this one
  mask_.assign(frame.trie().mask_words(), 0);
  unlimited_ = mask_;

  uint32_t nearest = kNever;  // of all ways
  for (const Frame::Way& way : place.ways) {
    if (is_open(way)) nearest = std::min(nearest, distance_after(frame, way));
  }
  bool may_leave = true;
  if (cursor_ != nullptr) {
    const std::optional<bool> may_end = cursor_->add_tokens(left - 1 - int64_t(nearest), mask_, unlimited_, slice);
    if (!may_end) return nullptr;
    may_leave = *may_end;
    // In small vocabularies, tokens that stand for bytes can also be ends. Here they are only ends.
    for (const Frame::Way& way : place.ways) {
      forbid(mask_, way.token);
      forbid(unlimited_, way.token);
    }
  }
  if (place.is_text && (!place.is_analysis || analysis_left_ != 0)) {
    const bool is_only_way = nearest >= kNever;
    unlimited_ = frame.trie().ordinary();
    if (is_only_way || int64_t(frame.place(place.after_text).distance) <= left) mask_ = frame.trie().ordinary();
  }
  if (may_leave) {
    for (const Frame::Way& way : place.ways) {
      if (!is_open(way)) continue;
      const uint32_t distance = distance_after(frame, way);
      allow(unlimited_, way.token);
      if (distance == nearest || int64_t(distance) <= left) allow(mask_, way.token);
    }
  }
  return &mask_;
}

void Matcher::accept(int32_t token) {
  const Frame::Place& place = constraint_->frame.place(at_);
  const auto refuse = [&] { throw Error(Code::kInternal, str("token ", token, " is outside of the constraint")); };
  if (token < 0 || size_t(token) / 32 >= mask_.size() || !allows(mask_, token)) refuse();
  for (const Frame::Way& way : place.ways) {
    if (way.token != token) continue;
    enter(way.to);
    return;
  }
  if (cursor_ != nullptr) {
    cursor_->advance(token);
    return;
  }
  if (place.is_analysis && analysis_left_ > 0) --analysis_left_;
  enter(place.after_text);
}

}  // namespace oss::grammar
