// Characters as bytes: sets of code points, written as UTF-8, or as they stand between the quotes of a JSON string.
#pragma once
#include <cstdint>
#include <vector>

#include "native/grammar/graph.h"

namespace oss::grammar {

struct CodePoints {
  uint32_t first, last;
};
using CodePointSet = std::vector<CodePoints>;  // ascending and apart, once normalized

enum class Spelling {
  kPlain,       // UTF-8
  kJsonString,  // and what JSON escapes, escaped in its shortest form
};

// Sorted, merged, without surrogates, within Unicode.
CodePointSet normalized(CodePointSet set);
CodePointSet complement_of(const CodePointSet& normalized);

// The edges of one character of a normalized set, to be put into a node; `next` follows the character.
std::vector<Edge> character_edges(Graph& graph, const CodePointSet& set, Spelling spelling, NodeId next);
NodeId character(Graph& graph, const CodePointSet& set, Spelling spelling, NodeId next);

}  // namespace oss::grammar
