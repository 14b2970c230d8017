// Regular languages of characters with "and" and "not", as expressions. Expressions with the same text are the same
// object. The derivative of an expression by a character describes the text that may follow it (Brzozowski 1964). The
// derivatives are the states of an automaton. It is used where one string must meet several demands: patterns, lengths,
// look-ahead, property names.
#pragma once
#include <map>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "native/grammar/characters.h"
#include "native/grammar/graph.h"

namespace oss::grammar {

class Regular {
 public:
  using Id = uint32_t;
  static constexpr Id kNothing = 0;               // no text at all
  static constexpr Id kEmpty = 1;                 // the text without characters
  static constexpr Id kAnything = 2;              // every text
  static constexpr size_t kMostStates = 8192;     // of one automaton
  static constexpr size_t kMostWork = 2'000'000;  // parts of expressions visited, in the lifetime of this object

  // Thrown when an automaton would have too many states, or when all together take too much work.
  struct TooLarge {};

  explicit Regular(Graph& graph);

  // `set` is normalized.
  Id characters(const CodePointSet& set);
  Id text(std::string_view utf8);
  Id sequence(Id first, Id then);
  Id either(std::vector<Id> parts) { return list(Kind::kEither, std::move(parts)); }
  Id both(std::vector<Id> parts) { return list(Kind::kBoth, std::move(parts)); }
  Id negated(Id of);
  Id counted(Id of, uint32_t min, uint32_t max);
  Id any_of_length(uint32_t min, uint32_t max) { return counted(any_, min, max); }

  bool accepts_empty(Id id) const { return nodes_[id].is_nullable; }
  bool matches(Id id, std::string_view utf8);
  // The number of states of its automaton.
  size_t num_states(Id id);
  bool fits(Id id);
  // Its texts in this spelling, then `next`. A repeated language costs a call.
  NodeId emit(Id id, Spelling spelling, NodeId next);

 private:
  enum class Kind : uint8_t { kNothing, kEmpty, kSet, kSequence, kEither, kBoth, kNot, kCounted };
  struct Node {
    Kind kind;
    bool is_nullable;
    uint32_t min, max;  // of kCounted; for kSet, min is the index of the set
    std::vector<Id> parts;
  };
  using Key = std::tuple<Kind, uint32_t, uint32_t, std::vector<Id>>;
  struct States;

  Id intern(Kind kind, std::vector<Id> parts, uint32_t min, uint32_t max, bool is_nullable);
  Id list(Kind kind, std::vector<Id> parts);
  Id derived(Id id, uint32_t of_class);
  void find_classes();
  uint32_t class_of(uint32_t code) const;
  States states_of(Id id);
  NodeId start_of(Id id, Spelling spelling);
  void work(size_t parts) {
    constexpr uint64_t kNodesOfPart = 5;  // in time
    graph_.spend(Work::kNodes, kNodesOfPart * parts);
    if ((work_ += parts) > kMostWork) throw TooLarge();
  }

  Graph& graph_;
  std::vector<Node> nodes_;
  std::map<Key, Id> ids_;
  std::vector<CodePointSet> sets_;
  std::map<std::vector<std::pair<uint32_t, uint32_t>>, uint32_t> set_ids_;
  Id any_;
  size_t work_ = 0;
  // Characters that no set separates form a class. Classes are computed anew when there are more sets.
  size_t sets_in_classes_ = 0;
  std::vector<std::pair<uint32_t, uint32_t>> borders_;  // first code point, class; ascending
  std::vector<CodePointSet> classes_;
  std::vector<std::vector<bool>> members_;  // [set][class]
  std::map<std::pair<Id, uint32_t>, Id> derived_;
  std::map<std::pair<Id, Spelling>, RuleId> rules_;
};

}  // namespace oss::grammar
