#include "native/engine/text_stream.h"

#include <string_view>
#include <utility>

#include "native/base/utf8.h"
#include "native/tokenizer/tokenizer.h"

namespace oss {

TextStream::TextStream(std::shared_ptr<const StopStrings> stops) : stops_(std::move(stops)) {}

TextStream::Piece TextStream::push(int32_t token) {
  const uint32_t id = uint32_t(token);
  if (id > tokenizer::kLastSpecial) return {};
  incomplete_ += tokenizer::decode({&id, 1});
  std::string text;
  size_t at = 0;
  while (at < incomplete_.size()) {
    const Utf8 character = utf8_begin(std::string_view(incomplete_).substr(at));
    if (character.kind == Utf8::kIncomplete) break;
    if (character.kind == Utf8::kWhole) {
      text.append(incomplete_, at, character.length);
    } else {
      text += kReplacementCharacter;
    }
    at += character.length;
  }
  incomplete_.erase(0, at);
  return release(text);
}

std::string TextStream::end() {
  std::string text(incomplete_.empty() ? "" : kReplacementCharacter);
  incomplete_.clear();
  Piece piece = release(text);
  if (stops_) piece.text += stops_->held(state_);
  state_ = StopStrings::kStart;
  return std::move(piece.text);
}

// Returns the text that was held back and the new text, except the part that is now held back or follows a stop string.
TextStream::Piece TextStream::release(const std::string& text) {
  if (!stops_) return {.text = text};
  const std::string_view held = stops_->held(state_);
  const auto first = [&](size_t bytes) {
    std::string out(held.substr(0, bytes));
    if (bytes > held.size()) out.append(text, 0, bytes - held.size());
    return out;
  };
  for (size_t i = 0; i < text.size(); ++i) {
    state_ = stops_->next(state_, text[i]);
    if (const size_t match = stops_->match(state_)) {
      state_ = StopStrings::kStart;
      incomplete_.clear();
      return {.text = first(held.size() + i + 1 - match), .stopped = true};
    }
  }
  return {.text = first(held.size() + text.size() - stops_->held(state_).size())};
}

}  // namespace oss
