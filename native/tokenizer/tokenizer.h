// o200k_harmony: text ⇄ token ids. Texts are UTF-8; ids are the model's ids. All functions are safe on any thread.
#pragma once
#include <atomic>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "native/tokenizer/special_tokens.h"

namespace oss::tokenizer {

// Encodes a text. The text of a special token becomes that token only when `allowed` contains it; by default it is
// ordinary text. Throws kCancelled soon after `*cancelled` becomes true; `cancelled` may be null.
std::vector<uint32_t> encode(std::string_view text, const SpecialSet& allowed = {},
                             const std::atomic<bool>* cancelled = nullptr);

// The same, or none when there are more than `most` tokens. It stops as soon as that is certain, before it merges a
// piece that must have more.
std::optional<std::vector<uint32_t>> encode_within(std::string_view text, size_t most, const SpecialSet& allowed = {},
                                                   const std::atomic<bool>* cancelled = nullptr);

// The same, into existing memory. Returns the number of tokens of the text; if they do not fit, only the first ones are
// written.
size_t encode_into(std::span<uint32_t> target, std::string_view text, const SpecialSet& allowed = {});

// encode(text).size() without the ids.
size_t count(std::string_view text);

// The bytes of all tokens, concatenated. They may be invalid UTF-8, because a character may be spread over several
// tokens. Throws kInvalidArgument, with the id and its index, when an id is above kLastSpecial.
std::string decode(std::span<const uint32_t> ids);

}  // namespace oss::tokenizer
