#include "native/tokenizer/special_tokens.h"

#include <algorithm>
#include <charconv>

namespace oss::tokenizer {
namespace {

struct Named {
  uint32_t id;
  std::string_view text;
};
constexpr Named kNamed[] = {
    {199998, "<|startoftext|>"}, {199999, "<|endoftext|>"}, {200002, "<|return|>"},
    {200003, "<|constrain|>"},   {200005, "<|channel|>"},   {200006, "<|start|>"},
    {200007, "<|end|>"},         {200008, "<|message|>"},   {200012, "<|call|>"},
};
constexpr std::string_view kOpen = "<|", kClose = "|>", kReserved = "<|reserved_";
constexpr size_t kLongest = std::string_view("<|reserved_201088|>").size();

// The id of the special token with exactly this text, or 0, which is not a special token.
uint32_t special_id(std::string_view text) {
  for (const Named& token : kNamed) {
    if (token.text == text) return token.id;
  }
  if (!text.starts_with(kReserved)) return 0;
  uint32_t id = 0;
  std::from_chars(text.data() + kReserved.size(), text.data() + text.size(), id);
  return id >= kFirstSpecial && id <= kLastSpecial && special_text(id) == text ? id : 0;
}

}  // namespace

std::string special_text(uint32_t id) {
  for (const Named& token : kNamed) {
    if (token.id == id) return std::string(token.text);
  }
  return std::string(kReserved) + std::to_string(id) + std::string(kClose);
}

// Special texts contain "<|" and "|>" only at their two ends. So at most one can begin at a position: the one that ends
// with the next "|>". The longest match is the only one.
SpecialMatch find_special(std::string_view text, size_t from, const SpecialSet& allowed) {
  for (size_t begin = text.find(kOpen, from); begin != text.npos; begin = text.find(kOpen, begin + 1)) {
    const std::string_view candidate = text.substr(begin, kLongest);
    const size_t close = candidate.find(kClose, kOpen.size());
    if (close == candidate.npos) continue;
    const size_t size = close + kClose.size();
    const uint32_t id = special_id(candidate.substr(0, size));
    if (id != 0 && allowed[id - kFirstSpecial]) return {begin, begin + size, id};
  }
  return {text.size(), text.size(), 0};
}

}  // namespace oss::tokenizer
