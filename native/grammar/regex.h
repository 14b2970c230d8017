// Regular expressions in JavaScript's syntax with the `u` flag, as far as they describe regular languages:
//
//   literals, . [..] [^..] \d \D \w \W \s \S, \t \n \r \f \v \0 \cX \xHH \uHHHH \u{H..} and escaped punctuation
//   (..) (?:..) (?<name>..) a|b, * + ? {n} {n,} {n,m} (lazy ones as well: the language is the same), counts up to
//   kMaxCount ^ and $ anywhere, (?=..) (?!..) outside repetitions
//
// Everything else is refused with its name and byte position: look-behind, back-references, \b, \p{..}, flags.
#pragma once
#include <string>
#include <string_view>

#include "native/grammar/characters.h"
#include "native/grammar/graph.h"
#include "native/grammar/regex_tree.h"
#include "native/grammar/regular.h"

namespace oss::grammar {

enum class Anchoring {
  kWhole,   // the whole text is a match, with or without ^ and $
  kSearch,  // the text contains a match, as with `pattern` of JSON schema
};

// A pattern as nodes, in which counts of any height stay counts. A pattern with look-ahead, or with anchors other than
// at the ends of its alternatives, goes through `regular`, which must belong to this graph. `name` begins every
// message. Throws kInvalidArgument.
NodeId regex(Graph& graph, Regular& regular, std::string_view pattern, Anchoring anchoring, Spelling spelling,
             const std::string& name, NodeId next);

// The pattern as a language, which can be intersected with others. Where its automaton would be too large, counts stop
// at 64; every text that still matches also matches the pattern. A pattern has at most kMaxLanguageBytes.
constexpr size_t kMaxLanguageBytes = 4096;
Regular::Id regex_language(Regular& regular, std::string_view pattern, Anchoring anchoring, const std::string& name);

// The texts of this language in this spelling. Throws kInvalidArgument, with `name` first, when it is too large.
NodeId emit_language(Regular& regular, Regular::Id language, Spelling spelling, const std::string& name, NodeId next);

}  // namespace oss::grammar
