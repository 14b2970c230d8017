// Walks a graph byte by byte. A state is the set of all places where the text so far may have led: a node, and the calls
// and repetitions that are open around it. States are made when they are first reached and then looked up, so that a
// second walk over the same text costs one table look-up per byte.
//
// Nothing grows without bound: open calls are Graph::kMaxDepth deep at most, and what would go deeper is not allowed, nor
// what could only end deeper; a state has kMaxPlaces places; and when there are kMaxStates states, collect() keeps only
// those in use. Not safe on two threads at once (grammar.h has the lock).
#pragma once
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "native/grammar/graph.h"

namespace oss::grammar {

using StateId = uint32_t;

class Machine {
 public:
  static constexpr size_t kMaxStates = 1u << 14;
  static constexpr size_t kMostStates = 4 * kMaxStates;
  static constexpr size_t kMaxFrames = 1u << 17;
  static constexpr size_t kMaxPlaces = 4096;
  // Places that may be found anew between two calls of begin_walk(): some 100 ms.
  static constexpr uint64_t kMaxWork = 1'000'000;

  static constexpr StateId kDead = 0;

  // What follows is one mask or token: it may take kMaxWork.
  void begin_walk() { work_ = 0; }
  uint64_t work() const { return work_; }

  // The graph is finished. plain_node, plain_rule: where a JSON string goes on without an end, and the rule of one of its
  // characters (json_text.h).
  Machine(Graph graph, NodeId plain_node, RuleId plain_rule);

  StateId start();
  // kDead when the byte cannot stand there. Throws kUnsupported when a state has more than kMaxPlaces places, when the walk
  // takes more than kMaxWork, or when there are kMostStates: only an ambiguous pattern comes there between two calls of
  // collect().
  StateId step(StateId from, uint8_t byte) {
    const uint32_t known = next_[size_t(from) * classes_ + graph_.class_of(byte)];
    return known != kUnknown ? known : find_step(from, byte);
  }
  // The text may end here.
  bool accepts(StateId state) const { return states_[state].accepts; }
  // Tokens that suffice from here to the end (Graph::distance).
  uint32_t distance(StateId state) const { return states_[state].distance; }
  // How many plain characters of a JSON string may follow: kUnlimited, a count, or 0 when that is not all that is open here.
  uint32_t plain(StateId state) const { return states_[state].plain; }

  bool is_full() const { return states_.size() > kMaxStates || frames_.size() > kMaxFrames; }
  // Forgets every state but these, which get new ids.
  void collect(std::span<StateId* const> in_use);

  size_t num_states() const { return states_.size(); }
  size_t bytes() const;

 private:
  static constexpr uint32_t kUnknown = ~0u;

  // An open call or repetition: where it goes on.
  struct Frame {
    NodeId node;        // kCall or kRepeat
    uint32_t min, max;  // what a repetition still takes
    uint32_t parent;
    uint32_t depth, distance;  // distance: to the end of the text after its rule has ended
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
  uint64_t work_ = 0;
};

}  // namespace oss::grammar
