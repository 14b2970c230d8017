// The syntax tree of a regular expression (regex.h describes the syntax).
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "native/grammar/characters.h"

namespace oss::grammar {

constexpr uint32_t kMaxCount = 10'000;

struct RegexTree {
  enum Kind {
    kCharacters,
    kSequence,
    kAlternatives,
    kCounted,
    kBegin,     // ^
    kEnd,       // $
    kAhead,     // (?=..)
    kNotAhead,  // (?!..)
  } kind;
  CodePointSet characters{};
  std::vector<RegexTree> parts{};
  uint32_t min = 1, max = 1;
  size_t at = 0;  // the position in the pattern, for parts that match no character
};

// `name` begins every message. Throws kInvalidArgument, with the unsupported part and its byte position.
RegexTree parse_regex(std::string_view pattern, const std::string& name);
[[noreturn]] void refuse_regex(const std::string& name, std::string_view pattern, size_t at, const std::string& what);

}  // namespace oss::grammar
