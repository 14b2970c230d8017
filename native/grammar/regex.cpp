#include "native/grammar/regex.h"

#include <algorithm>
#include <span>

#include "native/base/error.h"
#include "native/base/json.h"
#include "native/base/str.h"

namespace oss::grammar {
namespace {

const CodePointSet kAny = {{0, 0xD7FF}, {0xE000, 0x10FFFF}};

using Tree = RegexTree;

// --- as nodes
// ------------------------------------------------------------------------------------------------------------

bool is_assertion(const Tree& tree) {
  return tree.kind == Tree::kBegin || tree.kind == Tree::kEnd || tree.kind == Tree::kAhead ||
         tree.kind == Tree::kNotAhead;
}

bool has_assertion(const Tree& tree) {
  return is_assertion(tree) || std::any_of(tree.parts.begin(), tree.parts.end(), has_assertion);
}

// One of the alternatives of a whole pattern, without the anchors at its ends.
struct Alternative {
  const Tree& tree;
  bool from_begin, to_end;

  explicit Alternative(const Tree& sequence)
      : tree(sequence),
        from_begin(!sequence.parts.empty() && sequence.parts.front().kind == Tree::kBegin),
        to_end(!sequence.parts.empty() && sequence.parts.back().kind == Tree::kEnd) {}
  std::span<const Tree> parts() const {
    return std::span(tree.parts).subspan(from_begin, tree.parts.size() - size_t(from_begin) - size_t(to_end));
  }
  bool is_plain() const {
    const std::span<const Tree> inner = parts();
    return std::none_of(inner.begin(), inner.end(), has_assertion);
  }
};

NodeId emit(Graph& graph, const Tree& tree, Spelling spelling, NodeId next);

NodeId emit(Graph& graph, std::span<const Tree> parts, Spelling spelling, NodeId next) {
  for (size_t i = parts.size(); i-- > 0;) next = emit(graph, parts[i], spelling, next);
  return next;
}

NodeId emit(Graph& graph, const Tree& tree, Spelling spelling, NodeId next) {
  switch (tree.kind) {
    case Tree::kCharacters:
      return character(graph, tree.characters, spelling, next);
    case Tree::kSequence:
      return emit(graph, std::span(tree.parts), spelling, next);
    case Tree::kAlternatives: {
      std::vector<NodeId> ways;
      for (const Tree& part : tree.parts) ways.push_back(emit(graph, part, spelling, next));
      return graph.any_of(std::move(ways));
    }
    default:
      break;
  }
  if (tree.max == 1) return graph.any_of({emit(graph, tree.parts[0], spelling, next), next});
  const RuleId body = graph.add_rule(emit(graph, tree.parts[0], spelling, Graph::kEndNode));
  return graph.repeat(body, tree.min, tree.max, next);
}

// --- as a language
// -------------------------------------------------------------------------------------------------------

bool has_begin(const Tree& tree) {
  return tree.kind == Tree::kBegin || std::any_of(tree.parts.begin(), tree.parts.end(), has_begin);
}

// Whether it can match the empty text.
bool may_be_empty(const Tree& tree) {
  switch (tree.kind) {
    case Tree::kCharacters:
      return false;
    case Tree::kSequence:
      return std::all_of(tree.parts.begin(), tree.parts.end(), may_be_empty);
    case Tree::kAlternatives:
      return std::any_of(tree.parts.begin(), tree.parts.end(), may_be_empty);
    case Tree::kCounted:
      return tree.min == 0 || may_be_empty(tree.parts[0]);
    default:
      return true;
  }
}

// Built from the back: the language of the following text is known up to the end, so look-ahead is one more demand on
// it.
class LanguageOf {
 public:
  enum class Where { kAtBegin, kInside, kUnknown };  // in the text

  LanguageOf(Regular& regular, std::string_view pattern, const std::string& name)
      : regular_(regular), pattern_(pattern), name_(name) {}

  Regular::Id before(const Tree& tree, Regular::Id next, Where where) {
    switch (tree.kind) {
      case Tree::kCharacters:
        return regular_.sequence(regular_.characters(tree.characters), next);
      case Tree::kSequence:
        return sequence(tree, next, where);
      case Tree::kAlternatives: {
        std::vector<Regular::Id> ways;
        for (const Tree& part : tree.parts) ways.push_back(before(part, next, where));
        return regular_.either(std::move(ways));
      }
      case Tree::kBegin:
        if (where == Where::kUnknown) refuse(tree, "an anchor behind what may be empty");
        return where == Where::kAtBegin ? next : Regular::kNothing;
      case Tree::kEnd:
        return regular_.both({next, Regular::kEmpty});
      case Tree::kAhead:
        return regular_.both({before(tree.parts[0], Regular::kAnything, where), next});
      case Tree::kNotAhead:
        return regular_.both({regular_.negated(before(tree.parts[0], Regular::kAnything, where)), next});
      case Tree::kCounted:
        break;
    }
    const Tree& body = tree.parts[0];
    if (!has_assertion(body)) {
      return regular_.sequence(regular_.counted(before(body, Regular::kEmpty, where), tree.min, tree.max), next);
    }
    if (tree.max > 1) refuse(body, "an anchor or look-ahead inside of a repetition");
    if (tree.max == 0) return next;
    const Regular::Id once = before(body, next, where);
    return tree.min == 1 ? once : regular_.either({once, next});
  }

 private:
  [[noreturn]] void refuse(const Tree& tree, const std::string& what) const {
    const Tree* at = &tree;
    while (!is_assertion(*at)) at = &*std::find_if(at->parts.begin(), at->parts.end(), has_assertion);
    refuse_regex(name_, pattern_, at->at, what);
  }

  Regular::Id sequence(const Tree& tree, Regular::Id next, Where where) {
    std::vector<Where> places;
    for (const Tree& part : tree.parts) {
      places.push_back(where);
      if (where == Where::kInside || is_assertion(part)) continue;
      where = may_be_empty(part) ? Where::kUnknown : Where::kInside;
    }
    for (size_t i = tree.parts.size(); i-- > 0;) next = before(tree.parts[i], next, places[i]);
    return next;
  }

  Regular& regular_;
  const std::string_view pattern_;
  const std::string& name_;
};

Regular::Id searched(Regular& regular, const Tree& tree, std::string_view pattern, Anchoring anchoring,
                     const std::string& name) {
  using Where = LanguageOf::Where;
  LanguageOf language(regular, pattern, name);
  if (anchoring == Anchoring::kWhole) return language.before(tree, Regular::kEmpty, Where::kAtBegin);
  const Regular::Id at_begin = language.before(tree, Regular::kAnything, Where::kAtBegin);
  if (!has_begin(tree)) return regular.sequence(Regular::kAnything, at_begin);
  const Regular::Id inside = language.before(tree, Regular::kAnything, Where::kInside);
  return regular.either({at_begin, regular.sequence(regular.any_of_length(1, kUnlimited), inside)});
}

// Lowers the maxima of high counts, so that the pattern matches less but nothing new. Returns whether there were any.
bool lower_counts(Tree& tree) {
  constexpr uint32_t kHigh = 64;
  if (tree.kind == Tree::kNotAhead) return false;
  bool out = false;
  if (tree.kind == Tree::kCounted && tree.max != kUnlimited && tree.max > std::max(kHigh, tree.min)) {
    tree.max = std::max(kHigh, tree.min);
    out = true;
  }
  for (Tree& part : tree.parts) out |= lower_counts(part);
  return out;
}

// Lowers high counts where the automaton would be too large.
Regular::Id language_of(Regular& regular, const Tree& tree, std::string_view pattern, Anchoring anchoring,
                        const std::string& name) {
  if (pattern.size() > kMaxLanguageBytes) {
    throw Error(Code::kInvalidArgument, str(name, ": a pattern of more than ", kMaxLanguageBytes,
                                            " bytes is not supported beside other demands, or with look-ahead"));
  }
  const Regular::Id out = searched(regular, tree, pattern, anchoring, name);
  RegexTree fewer = tree;
  return !lower_counts(fewer) || regular.fits(out) ? out : searched(regular, fewer, pattern, anchoring, name);
}

[[noreturn]] void refuse_size(const std::string& name) {
  throw Error(Code::kInvalidArgument, str(name, ": this takes too many states"));
}

}  // namespace

NodeId regex(Graph& graph, Regular& regular, std::string_view pattern, Anchoring anchoring, Spelling spelling,
             const std::string& name, NodeId next) {
  const Tree whole = parse_regex(pattern, name);
  const std::vector<Alternative> alternatives(whole.parts.begin(), whole.parts.end());
  if (!std::all_of(alternatives.begin(), alternatives.end(), [](const Alternative& one) { return one.is_plain(); })) {
    try {
      return regular.emit(language_of(regular, whole, pattern, anchoring, name), spelling, next);
    } catch (const Regular::TooLarge&) {
      refuse_size(name);
    }
  }
  const RuleId any = graph.add_rule(character(graph, kAny, spelling, Graph::kEndNode));
  std::vector<NodeId> ways;
  for (const Alternative& one : alternatives) {
    const bool search = anchoring == Anchoring::kSearch;
    const NodeId tail = search && !one.to_end ? graph.repeat(any, 0, kUnlimited, next) : next;
    const NodeId start = emit(graph, one.parts(), spelling, tail);
    ways.push_back(search && !one.from_begin ? graph.repeat(any, 0, kUnlimited, start) : start);
  }
  return graph.any_of(std::move(ways));
}

Regular::Id regex_language(Regular& regular, std::string_view pattern, Anchoring anchoring, const std::string& name) {
  const Tree whole = parse_regex(pattern, name);
  try {
    return language_of(regular, whole, pattern, anchoring, name);
  } catch (const Regular::TooLarge&) {
    refuse_size(name);
  }
}

NodeId emit_language(Regular& regular, Regular::Id language, Spelling spelling, const std::string& name, NodeId next) {
  try {
    return regular.emit(language, spelling, next);
  } catch (const Regular::TooLarge&) {
    refuse_size(name);
  }
}

}  // namespace oss::grammar
