// The pattern, whose alternatives are tried in this order:
//
//   1  [^\r\n\p{L}\p{N}]? [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]* [\p{Ll}\p{Lm}\p{Lo}\p{M}]+ (?i:'s|'t|'re|'ve|'m|'ll|'d)?
//   2  [^\r\n\p{L}\p{N}]? [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+ [\p{Ll}\p{Lm}\p{Lo}\p{M}]* (?i:'s|'t|'re|'ve|'m|'ll|'d)?
//   3  \p{N}{1,3}
//   4   ?[^\s\p{L}\p{N}]+ [\r\n/]*
//   5  \s* [\r\n]+
//   6  \s+ (?!\S)
//   7  \s+
//
// The hand-written code needs no backtracking. The comments below name each place where the pattern would backtrack.
#include "native/tokenizer/pretokenize.h"

#include <cstddef>

#include "native/tokenizer/unicode_classes.h"

namespace oss::tokenizer {
namespace {

// A set of classes as a bit mask.
template <typename... Classes>
constexpr unsigned set_of(Classes... classes) {
  return ((1u << (int(classes) - '0')) | ...);
}
constexpr unsigned kLetters = set_of(CharClass::kUpper, CharClass::kLower, CharClass::kCaseless);
constexpr unsigned kUpperRun = set_of(CharClass::kUpper, CharClass::kCaseless, CharClass::kMark);
constexpr unsigned kLowerRun = set_of(CharClass::kLower, CharClass::kCaseless, CharClass::kMark);
constexpr unsigned kBothRuns = kUpperRun & kLowerRun;
constexpr unsigned kNumbers = set_of(CharClass::kNumber);
constexpr unsigned kNewlines = set_of(CharClass::kNewline);
constexpr unsigned kWhitespace = set_of(CharClass::kSpace, CharClass::kNewline);
constexpr unsigned kSymbols = set_of(CharClass::kOther, CharClass::kMark);
constexpr unsigned kPrefixes = ~(kNewlines | kLetters | kNumbers);

struct Char {
  unsigned bit;  // its class, as a set with one element
  int size;      // bytes
  bool in(unsigned set) const { return (bit & set) != 0; }
};

Char read(const uint8_t* p, const uint8_t* end) {
  const auto of = [](uint32_t code_point, int size) { return Char{set_of(char_class(code_point)), size}; };
  const uint32_t lead = *p;
  if (lead < 0x80) return of(lead, 1);
  const ptrdiff_t left = end - p;
  if (lead < 0xE0 && left >= 2) return of((lead & 0x1F) << 6 | (p[1] & 0x3F), 2);
  if (lead < 0xF0 && left >= 3) return of((lead & 0x0F) << 12 | (p[1] & 0x3F) << 6 | (p[2] & 0x3F), 3);
  if (left >= 4) {
    const uint32_t code_point = (lead & 0x07) << 18 | (p[1] & 0x3F) << 12 | (p[2] & 0x3F) << 6 | (p[3] & 0x3F);
    if (code_point < 0x110000) return of(code_point, 4);
  }
  return {set_of(CharClass::kOther), 1};
}

// The end of the longest run of characters of a set; at most `limit` of them.
const uint8_t* skip(const uint8_t* p, const uint8_t* end, unsigned set, size_t limit = SIZE_MAX) {
  for (; p < end && limit > 0; --limit) {
    const Char c = read(p, end);
    if (!c.in(set)) break;
    p += c.size;
  }
  return p;
}

// (?i:'s|'t|'re|'ve|'m|'ll|'d)?  Case folding takes ſ (U+017F, C5 BF) for an s; the others are ASCII.
const uint8_t* skip_contraction(const uint8_t* p, const uint8_t* end) {
  const ptrdiff_t left = end - p;
  if (left < 2 || *p != '\'') return p;
  const int first = p[1] | 0x20;
  if (p[1] < 0x80 && (first == 's' || first == 't' || first == 'm' || first == 'd')) return p + 2;
  if (left < 3) return p;
  if (p[1] == 0xC5 && p[2] == 0xBF) return p + 3;
  const int second = p[2] | 0x20;
  const bool two =
      (first == 'r' && second == 'e') || (first == 'v' && second == 'e') || (first == 'l' && second == 'l');
  return two ? p + 3 : p;
}

// Alternative 1 after its prefix: the end of the match, or null. The first run takes as many characters as it can. If
// no lower-case letter follows, it gives back up to its last character that also fits the second run. The second run
// then matches only that character.
const uint8_t* match_lower(const uint8_t* p, const uint8_t* end) {
  const uint8_t* given_back = nullptr;
  while (p < end) {
    const Char c = read(p, end);
    if (!c.in(kUpperRun)) {
      if (c.in(kLowerRun)) return skip_contraction(skip(p + c.size, end, kLowerRun), end);
      break;
    }
    p += c.size;
    if (c.in(kBothRuns)) given_back = p;
  }
  return given_back != nullptr ? skip_contraction(given_back, end) : nullptr;
}

// Alternative 2 after its prefix. Alternative 1 has failed here, so the run contains only upper-case letters.
const uint8_t* match_upper(const uint8_t* p, const uint8_t* end) {
  const uint8_t* after = skip(p, end, kUpperRun);
  return after != p ? skip_contraction(after, end) : nullptr;
}

// Alternatives 5 to 7: a run of whitespace up to its last line break. A run without one matches as a whole. If text
// follows, the run leaves out its last character, which may begin the next piece.
const uint8_t* match_whitespace(const uint8_t* begin, const uint8_t* end) {
  const uint8_t *p = begin, *last = begin, *after_newline = nullptr;
  while (p < end) {
    const Char c = read(p, end);
    if (!c.in(kWhitespace)) break;
    last = p;
    p += c.size;
    if (c.in(kNewlines)) after_newline = p;
  }
  if (after_newline != nullptr) return after_newline;
  return p == end || last == begin ? p : last;
}

}  // namespace

const uint8_t* piece_end(const uint8_t* text, const uint8_t* end) {
  const Char first = read(text, end);
  const uint8_t* second = text + first.size;
  const bool prefix = first.in(kPrefixes);
  const uint8_t* match = nullptr;

  if (prefix && (match = match_lower(second, end)) != nullptr) return match;
  if (first.in(kUpperRun | kLowerRun) && (match = match_lower(text, end)) != nullptr) return match;
  if (prefix && (match = match_upper(second, end)) != nullptr) return match;
  if (first.in(kUpperRun) && (match = match_upper(text, end)) != nullptr) return match;

  if (first.in(kNumbers)) return skip(second, end, kNumbers, 2);

  const uint8_t* symbols = *text == ' ' ? second : text;
  match = skip(symbols, end, kSymbols);
  if (match != symbols) {
    while (match < end && (*match == '\r' || *match == '\n' || *match == '/')) ++match;
    return match;
  }
  return match_whitespace(text, end);
}

}  // namespace oss::tokenizer
