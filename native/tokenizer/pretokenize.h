// The split pattern of o200k: a text is cut into pieces, and no token crosses the cut between two pieces.
#pragma once
#include <cstdint>

namespace oss::tokenizer {

// The end of the piece that starts at `text`, which is before `end`. The bytes should be UTF-8; a malformed one counts
// as a symbol by itself. Linear: over a whole text each byte is looked at a fixed number of times.
const uint8_t* piece_end(const uint8_t* text, const uint8_t* end);

}  // namespace oss::tokenizer
