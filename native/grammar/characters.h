// Characters as bytes: sets of code points in UTF-8, or in the form that they have inside a JSON string.
#pragma once
#include <cstdint>
#include <vector>

#include "native/grammar/graph.h"

namespace oss::grammar {

struct CodePoints {
  uint32_t first, last;
};
using CodePointSet = std::vector<CodePoints>;  // once normalized: ascending, without overlap

enum class Spelling {
  kPlain,       // UTF-8
  kJsonString,  // UTF-8 with JSON's escapes, each in its shortest form
};

// Sorted, merged, without surrogates, within Unicode.
CodePointSet normalized(CodePointSet set);
CodePointSet complement_of(const CodePointSet& normalized);

// The edges that read one character of a normalized set, for use in a node; `next` follows the character.
std::vector<Edge> character_edges(Graph& graph, const CodePointSet& set, Spelling spelling, NodeId next);
NodeId character(Graph& graph, const CodePointSet& set, Spelling spelling, NodeId next);

}  // namespace oss::grammar
