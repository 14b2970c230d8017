// The one definition of a UTF-8 character (Unicode 15, table 3-7): no overlong forms, no surrogates, nothing past
// U+10FFFF.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace oss {

constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";  // U+FFFD

struct Utf8 {
  enum Kind {
    kWhole,       // a character
    kInvalid,     // no character begins like this; length as the WHATWG decoder replaces by one U+FFFD
    kIncomplete,  // the text ends inside a character
  } kind;
  size_t length;  // bytes, at least 1
};

// Classifies the beginning of a text, which must not be empty.
constexpr Utf8 utf8_begin(std::string_view text) {
  const uint8_t first = uint8_t(text[0]);
  if (first < 0x80) return {Utf8::kWhole, 1};
  if (first < 0xC2 || first > 0xF4) return {Utf8::kInvalid, 1};
  const size_t length = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  for (size_t i = 1; i < length; ++i) {
    if (i == text.size()) return {Utf8::kIncomplete, i};
    uint8_t low = 0x80, high = 0xBF;
    if (i == 1 && first == 0xE0) low = 0xA0;   // below: overlong
    if (i == 1 && first == 0xED) high = 0x9F;  // above: surrogates
    if (i == 1 && first == 0xF0) low = 0x90;   // below: overlong
    if (i == 1 && first == 0xF4) high = 0x8F;  // above: past U+10FFFF
    if (uint8_t(text[i]) < low || uint8_t(text[i]) > high) return {Utf8::kInvalid, i};
  }
  return {Utf8::kWhole, length};
}

}  // namespace oss
