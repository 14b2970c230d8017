// o200k_harmony: text ⇄ token ids. Texts are UTF-8; ids are those of the model. All functions are safe on any thread.
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

// Text that spells out a special token becomes that token only when `allowed` has it; by default it is ordinary text.
// Throws kCancelled soon after the flag, if there is one, becomes true.
std::vector<uint32_t> encode(std::string_view text, const SpecialSet& allowed = {},
                             const std::atomic<bool>* cancelled = nullptr);

// The same, or nothing when there are more than `most` tokens: it then stops where that is certain, before the merges of a
// piece that must have more.
std::optional<std::vector<uint32_t>> encode_within(std::string_view text, size_t most, const SpecialSet& allowed = {},
                                                   const std::atomic<bool>* cancelled = nullptr);

// The same into memory that is there. Returns how many tokens the text has; when they do not fit, the first ones are
// written.
size_t encode_into(std::span<uint32_t> target, std::string_view text, const SpecialSet& allowed = {});

// encode(text).size() without the ids.
size_t count(std::string_view text);

// The bytes of all tokens, one after the other. They need not be UTF-8: a character may be spread over several tokens.
// Throws kInvalidArgument, naming the id and its index, when an id is above kLastSpecial.
std::string decode(std::span<const uint32_t> ids);

}  // namespace oss::tokenizer
