// A format of text, as a recursive transition network over bytes: rules, each a graph of nodes from its start to its
// end.
//
// It is built from the back: a call passes the node that follows a piece of text (`next`) and gets the node where the
// piece begins. A bounded repetition is one node with counts instead of many copies, and recursion is a call. The
// machine that walks the graph (machine.h) keeps the counts and calls.
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "native/grammar/budget.h"

namespace oss::grammar {

using NodeId = uint32_t;
using RuleId = uint32_t;

constexpr uint32_t kUnlimited = ~0u;
constexpr uint32_t kNever = 1u << 30;  // the distance of a node from which no text reaches the end

struct Edge {
  uint8_t first, last;  // bytes
  NodeId to;
};

struct Node {
  enum class Kind : uint8_t {
    kStep,    // follows one of `edges` by a byte, or one of `skips` without
    kCall,    // reads a text of `rule`, then goes to `next`
    kRepeat,  // reads min to max texts of `rule`, then goes to `next`
    kEnd,     // of any rule
  };
  Kind kind = Kind::kStep;
  std::vector<Edge> edges{};
  std::vector<NodeId> skips{};
  RuleId rule = 0;
  NodeId next = 0;
  uint32_t min = 1, max = 1;
};

class Graph {
 public:
  static constexpr size_t kMaxNodes = 1u << 17;  // about 10 MB; the largest schemas in use take a tenth of it
  static constexpr uint32_t kMaxDepth = 160;     // of nested calls and repetitions: about 50 levels of JSON

  // The budget (null: none) covers building and finish(), and is not used afterwards.
  explicit Graph(Budget* budget = nullptr);

  // --- building; throws kInvalidArgument beyond kMaxNodes, and as the budget does ---
  Budget* budget() const { return budget_; }
  void spend(Work kind, uint64_t amount = 1) const {
    if (budget_ != nullptr) budget_->spend(kind, amount);
  }
  static constexpr NodeId kEndNode = 0;
  static constexpr NodeId kNowhere = 1;
  NodeId range(uint8_t first, uint8_t last, NodeId next);
  NodeId ranges(std::vector<Edge> edges);
  NodeId text(std::string_view bytes, NodeId next);
  NodeId any_of(std::vector<NodeId> starts);
  NodeId optional(NodeId start, NodeId next) { return any_of({start, next}); }
  NodeId call(RuleId rule, NodeId next);
  NodeId repeat(RuleId rule, uint32_t min, uint32_t max, NodeId next);
  // A trie that reads one of these texts.
  NodeId choice(std::vector<std::string> texts, NodeId next);
  // A node to be filled in later, for loops.
  NodeId placeholder() { return add({}); }
  void fill(NodeId placeholder, std::vector<Edge> edges, std::vector<NodeId> skips);
  RuleId add_rule(NodeId start = kNowhere);
  void define(RuleId rule, NodeId start) { starts_[rule] = start; }

  // Analyses the finished graph. has_long_tokens: the tokens are all ordinary ones of o200k_harmony, not only single
  // bytes. Throws kInvalidArgument when no text leads to the end of the root, or when a rule begins with itself.
  void finish(RuleId root, bool has_long_tokens);

  // --- results of finish() ---
  RuleId root() const { return root_; }
  const Node& node(NodeId id) const { return nodes_[id]; }
  NodeId start(RuleId rule) const { return starts_[rule]; }
  size_t num_nodes() const { return nodes_.size(); }
  size_t bytes() const;
  // The number of tokens that suffices to reach the end of the rule. It counts one for each byte of some text, and
  // fewer where longer tokens spell fixed text, such as property names. kNever: no text leads there.
  uint32_t distance(NodeId id) const { return distances_[id]; }
  // The number of nested calls that every way to the end of the rule needs.
  uint32_t height(NodeId id) const { return heights_[id]; }
  // Classes of bytes: no edge separates bytes of one class.
  int num_classes() const { return int(representatives_.size()); }
  uint8_t class_of(uint8_t byte) const { return classes_[byte]; }
  uint8_t representative(int of_class) const { return representatives_[size_t(of_class)]; }

 private:
  NodeId add(Node node);
  // The nodes whose results depend on each node: users_ of [user_begins_[id], user_begins_[id + 1]).
  struct Users {
    std::vector<uint32_t> begins;
    std::vector<NodeId> users;
  };
  Users find_users() const;
  template <typename Visit>
  void for_each_needed(NodeId id, Visit&& visit) const;
  uint32_t distance_through(NodeId id) const;
  void find_distances();
  void find_jumps();
  uint32_t height_through(const Node& node) const;
  void refuse_left_recursion() const;

  Budget* budget_;
  std::vector<Node> nodes_;
  std::vector<NodeId> starts_;  // by rule
  RuleId root_ = 0;
  std::vector<uint32_t> distances_, heights_;
  // Targets of tokens of several bytes, for nodes with a single way on; [jump_begins_[id], jump_begins_[id + 1]) of
  // jumps_.
  std::vector<uint32_t> jump_begins_;
  std::vector<NodeId> jumps_;
  std::array<uint8_t, 256> classes_{};
  std::vector<uint8_t> representatives_;
};

// a · b + c, at most kNever.
uint32_t distance_sum(uint64_t a, uint64_t b, uint64_t c);

}  // namespace oss::grammar
