// Regular expressions of JavaScript's syntax with the `u` flag, as far as they describe regular languages:
//
//   literals, . [..] [^..] \d \D \w \W \s \S, \t \n \r \f \v \0 \cX \xHH \uHHHH \u{H..} and escaped punctuation
//   (..) (?:..) (?<name>..) a|b, * + ? {n} {n,} {n,m} (lazy ones as well: the language is the same), counts up to
//   kMaxCount ^ and $ anywhere, (?=..) (?!..) where nothing repeats them
//
// Everything else is refused by name and the byte where it stands: look-behind, back-references, \b, \p{..}, flags.
#pragma once
#include <string>
#include <string_view>

#include "native/grammar/characters.h"
#include "native/grammar/graph.h"
#include "native/grammar/regex_tree.h"
#include "native/grammar/regular.h"

namespace oss::grammar {

enum class Anchoring {
  kWhole,   // the text is a match, with or without ^ and $
  kSearch,  // the text holds a match, as `pattern` of JSON schema means it
};

// A pattern as nodes: counts stay counts, however high they are. Where it has look-ahead, or anchors elsewhere than at
// the ends of its alternatives, through `regular`, which is of this graph. `name` begins every message. Throws
// kInvalidArgument.
NodeId regex(Graph& graph, Regular& regular, std::string_view pattern, Anchoring anchoring, Spelling spelling,
             const std::string& name, NodeId next);

// The same as a language that can meet others. Where its automaton would be too large, counts go up to 64 only: what
// matches then, matches the pattern. A pattern has kMaxLanguageBytes at most.
constexpr size_t kMaxLanguageBytes = 4096;
Regular::Id regex_language(Regular& regular, std::string_view pattern, Anchoring anchoring, const std::string& name);

// Texts of this language, spelled like that. Throws kInvalidArgument, beginning with `name`, where it is too large.
NodeId emit_language(Regular& regular, Regular::Id language, Spelling spelling, const std::string& name, NodeId next);

}  // namespace oss::grammar
