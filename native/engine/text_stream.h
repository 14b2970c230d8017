// Turns the tokens of one completion into text: whole characters, without text that may become a stop string.
#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "native/engine/stop_strings.h"

namespace oss {

class TextStream {
 public:
  // `stops` may be null: then only incomplete characters are held back.
  explicit TextStream(std::shared_ptr<const StopStrings> stops);

  struct Piece {
    std::string text;      // UTF-8, whole characters; an invalid sequence is one U+FFFD as in the WHATWG decoder
    bool stopped = false;  // a stop string is complete: `text` ends before it, and nothing may be pushed any more
  };
  // Special tokens become their spelling ("<|end|>"), byte order marks are kept, as in lib/tokenizer/text-stream.ts. An
  // id without a spelling (beyond the tokenizer's vocabulary) adds nothing.
  //
  // Stop strings are searched in the text, after U+FFFD has replaced invalid bytes. Of several matches, the one that
  // ends first counts; of those that end together, the longest.
  Piece push(int32_t token);
  // Returns the text that was held back, with U+FFFD for an incomplete character. Nothing may be pushed after it.
  std::string end();

 private:
  Piece release(const std::string& text);

  std::shared_ptr<const StopStrings> stops_;
  std::string incomplete_;               // the first bytes of a character, at most three
  int32_t state_ = StopStrings::kStart;  // also determines the text that is held back
};

}  // namespace oss
