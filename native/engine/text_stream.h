// Tokens in, text out, for one completion: whole characters only, and nothing that may still become a stop string.
#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "native/engine/stop_strings.h"

namespace oss {

class TextStream {
 public:
  // `stops` may be null: nothing is held back then but incomplete characters.
  explicit TextStream(std::shared_ptr<const StopStrings> stops);

  struct Piece {
    std::string text;      // UTF-8, whole characters; an invalid sequence is one U+FFFD as in the WHATWG decoder
    bool stopped = false;  // a stop string is complete: `text` ends before it, and nothing may be pushed any more
  };
  // Special tokens are their spelling ("<|end|>"), byte order marks are kept, as in lib/tokenizer/text-stream.ts. An id
  // without a spelling (beyond the tokenizer's vocabulary) adds nothing.
  //
  // Stop strings are found in the text, not in the bytes before U+FFFD is put in. Of several, the one that ends first
  // counts, and of those the longest.
  Piece push(int32_t token);
  // What was held back and turns out to be text: U+FFFD for an incomplete character, then nothing more.
  std::string end();

 private:
  Piece release(const std::string& text);

  std::shared_ptr<const StopStrings> stops_;
  std::string incomplete_;               // the first bytes of a character, at most three
  int32_t state_ = StopStrings::kStart;  // tells what is held back, too
};

}  // namespace oss
