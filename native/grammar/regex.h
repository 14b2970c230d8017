// Regular expressions of JavaScript's syntax with the `u` flag, as far as they describe regular languages:
//
//   literals, . [..] [^..] \d \D \w \W \s \S, \t \n \r \f \v \0 \xHH \uHHHH \u{H..} and escaped punctuation
//   (..) (?:..) a|b, * + ? {n} {n,} {n,m} (lazy ones as well: the language is the same), counts up to kMaxCount
//   ^ at the beginning and $ at the end of the whole or of one of its alternatives
//
// Everything else is refused by name: look-around, back-references, \b, \p{..}, named groups, other anchors.
#pragma once
#include <string>
#include <string_view>

#include "native/grammar/characters.h"
#include "native/grammar/graph.h"

namespace oss::grammar {

constexpr uint32_t kMaxCount = 10'000;

enum class Anchoring {
  kWhole,   // the text is a match, with or without ^ and $
  kSearch,  // the text holds a match, as `pattern` of JSON schema means it
};

// `name` begins every message. Throws kInvalidArgument.
NodeId regex(Graph& graph, std::string_view pattern, Anchoring anchoring, Spelling spelling, const std::string& name,
             NodeId next);

}  // namespace oss::grammar
