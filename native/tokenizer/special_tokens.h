// The 1,091 special tokens of o200k_harmony, ids 199998..201088: nine with a meaning, and reserved ones named after
// their ids. lib/tokenizer/special-tokens.ts has the same table; tests compare both with test/golden/harmony.
#pragma once
#include <bitset>
#include <cstdint>
#include <string>
#include <string_view>

namespace oss::tokenizer {

constexpr uint32_t kFirstSpecial = 199998, kLastSpecial = 201088;
constexpr uint32_t kNumSpecial = kLastSpecial - kFirstSpecial + 1;

// A set of special tokens; the index is id - kFirstSpecial.
using SpecialSet = std::bitset<kNumSpecial>;

// The text of a special token: "<|start|>" for 200006, "<|reserved_200014|>" for 200014.
std::string special_text(uint32_t id);

struct SpecialMatch {
  size_t begin, end;  // in the text; begin == end == text.size() when there is none
  uint32_t id;
};

// The first special token of `allowed` that appears in the text at or after `from`.
SpecialMatch find_special(std::string_view text, size_t from, const SpecialSet& allowed);

}  // namespace oss::tokenizer
