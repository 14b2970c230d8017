// Walks a graph byte by byte. A state is the set of all places that the text so far may have reached: a node, with the
// calls and repetitions that are open around it. A state is made when it is first reached. A second walk over the same
// text costs one table look-up per byte.
//
// All memory is bounded. Open calls are at most Graph::kMaxDepth deep; ways that go deeper, or can only end deeper, are
// not allowed. A state has at most kMaxPlaces places, and places that add no text are left out. When the states take
// kFullBytes, collect() keeps only those in use. One thread at a time (grammar.h has the lock).
#pragma once
#include <atomic>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "native/grammar/graph.h"

namespace oss::grammar {

using StateId = uint32_t;

class Machine {
 public:
  static constexpr size_t kFullBytes = 16u << 20;
  static constexpr size_t kMostBytes = 64u << 20;
  static constexpr size_t kMaxPlaces = 4096;

  static constexpr StateId kDead = 0;

  // Thrown by step() when a walk has used up its work. Results are kept, so a repeated walk gets further.
  struct WalkEnds {};

  // Limits the following walk to `most` work. Work counts newly found places, about 10 million a second. The walk also
  // ends after the time of `slice` work, and with kCancelled when `cancelled` becomes true (null: never).
  void begin_walk(uint64_t most, uint64_t slice, const std::atomic<bool>* cancelled) {
    work_ = looks_ = 0;
    most_ = most;
    slice_ = slice;
    cancelled_ = cancelled;
  }
  uint64_t work() const { return work_; }
  // Counts look-ups of steps. They are not work, because their number depends on how often a walk was restarted. But
  // they take time.
  void look_up(uint64_t steps);
  uint64_t taken() const;  // of the slice

  // The graph must be finished. plain_node: the node inside a JSON string of unbounded length. plain_rule: the rule of
  // one of its characters (json_text.h).
  Machine(Graph graph, NodeId plain_node, RuleId plain_rule);

  StateId start();
  // kDead when the byte is not allowed there. Throws WalkEnds. Throws kUnsupported when a state has more than
  // kMaxPlaces places, or when all states take kMostBytes. Only an ambiguous pattern reaches that between two calls of
  // collect().
  StateId step(StateId from, uint8_t byte) {
    const uint32_t known = next_[size_t(from) * classes_ + graph_.class_of(byte)];
    return known != kUnknown ? known : find_step(from, byte);
  }
  // Whether the text may end here.
  bool accepts(StateId state) const { return states_[state].accepts; }
  // The number of tokens that suffices to reach the end from here (Graph::distance).
  uint32_t distance(StateId state) const { return states_[state].distance; }
  // The number of plain characters of a JSON string that may follow, or kUnlimited. 0 when other ways are open here
  // too.
  uint32_t plain(StateId state) const { return states_[state].plain; }

  bool is_full() const { return bytes() > graph_bytes_ + kFullBytes; }
  // Drops every state but these, which get new ids.
  void collect(std::span<StateId* const> in_use);

  size_t num_states() const { return states_.size(); }
  size_t bytes() const;
  size_t graph_bytes() const { return graph_bytes_; }

 private:
  static constexpr uint32_t kUnknown = ~0u;

  // An open call or repetition, which the walk returns to.
  struct Frame {
    NodeId node;        // kCall or kRepeat
    uint32_t min, max;  // repetitions that remain
    uint32_t parent;
    uint32_t depth, distance;  // distance: to the end of the text from the end of its rule
    bool operator==(const Frame& o) const {
      return node == o.node && min == o.min && max == o.max && parent == o.parent;
    }
  };
  struct FrameHash {
    size_t operator()(const Frame& frame) const;
  };
  struct Place {
    NodeId node;
    uint32_t frame;
    auto operator<=>(const Place&) const = default;
  };
  struct PlacesHash {
    size_t operator()(const std::vector<Place>& places) const;
  };
  struct State {
    const std::vector<Place>* places;  // the key in ids_
    uint32_t distance, plain;
    bool accepts;
  };
  struct Closure;

  void reset();
  bool covers(uint32_t frame, uint32_t other) const;
  void remove_covered(std::vector<Place>& places) const;
  uint32_t frame_of(const Frame& frame);
  StateId find_step(StateId from, uint8_t byte);
  StateId close(std::vector<Place> places);
  StateId intern(std::vector<Place> places, bool accepts, uint32_t distance, uint32_t plain);

  const Graph graph_;
  const NodeId plain_node_;
  const RuleId plain_rule_;
  const size_t classes_;
  std::vector<Frame> frames_;  // [0] is the bottom
  std::unordered_map<Frame, uint32_t, FrameHash> frame_ids_;
  std::vector<State> states_;
  std::unordered_map<std::vector<Place>, StateId, PlacesHash> ids_;
  std::vector<uint32_t> next_;  // [states, classes]
  const size_t graph_bytes_;
  size_t places_ = 0;  // of all states
  uint64_t work_ = 0, looks_ = 0, most_ = ~uint64_t(0), slice_ = ~uint64_t(0);
  const std::atomic<bool>* cancelled_ = nullptr;
};

}  // namespace oss::grammar
