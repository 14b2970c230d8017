// The split pattern of o200k: it cuts a text into pieces, and no token crosses a cut.
#pragma once
#include <cstdint>

namespace oss::tokenizer {

// The end of the piece that starts at `text`, which is before `end`. The bytes should be UTF-8; a malformed byte counts
// as a symbol. Linear: over a whole text, each byte is read a constant number of times.
const uint8_t* piece_end(const uint8_t* text, const uint8_t* end);

}  // namespace oss::tokenizer
