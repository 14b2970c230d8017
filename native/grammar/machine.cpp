#include "native/grammar/machine.h"

#include <algorithm>

#include "native/base/error.h"
#include "native/base/str.h"

namespace oss::grammar {
namespace {

constexpr uint64_t kWorkOfState = 8;  // in places
constexpr uint64_t kLooksOfPlace = 32;
constexpr size_t kBytesOfEntry = 96;  // of a hash table, and of the vector that is its key

uint64_t mix(uint64_t h, uint64_t value) {
  h = (h ^ value) * 0x9E3779B97F4A7C15u;
  return h ^ h >> 29;
}

}  // namespace

size_t Machine::FrameHash::operator()(const Frame& frame) const {
  return mix(mix(mix(mix(1, frame.node), frame.min), frame.max), frame.parent);
}

size_t Machine::PlacesHash::operator()(const std::vector<Place>& places) const {
  uint64_t h = places.size();
  for (const Place& place : places) h = mix(h, uint64_t(place.node) << 32 | place.frame);
  return h;
}

Machine::Machine(Graph graph, NodeId plain_node, RuleId plain_rule)
    : graph_(std::move(graph)),
      plain_node_(plain_node),
      plain_rule_(plain_rule),
      classes_(size_t(graph_.num_classes())),
      graph_bytes_(graph_.bytes()) {
  reset();
}

void Machine::reset() {
  frames_ = {Frame{Graph::kEndNode, 0, 0, 0, 0, 0}};
  frame_ids_.clear();
  states_.clear();
  ids_.clear();
  next_ = {};  // frees its memory
  places_ = 0;
  intern({}, false, kNever, 0);  // kDead
  std::fill(next_.begin(), next_.end(), kDead);
}

// Reserves memory first, here and for states, so that a refused allocation leaves the tables unchanged.
uint32_t Machine::frame_of(const Frame& frame) {
  if (frames_.size() == frames_.capacity()) frames_.reserve(2 * frames_.size());
  const auto [at, is_new] = frame_ids_.try_emplace(frame, uint32_t(frames_.size()));
  if (is_new) frames_.push_back(frame);
  return at->second;
}

uint64_t Machine::taken() const { return work_ + looks_ / kLooksOfPlace; }

void Machine::look_up(uint64_t steps) {
  looks_ += steps;
  if (taken() >= slice_) throw WalkEnds();
}

// Whether this frame can end every text that the other one can. True if the same repetitions are open and each may
// continue at least as long and end at least as early.
bool Machine::covers(uint32_t frame, uint32_t other) const {
  while (frame != other) {
    if (frame == 0 || other == 0) return false;
    const Frame &one = frames_[frame], &two = frames_[other];
    if (one.node != two.node || one.min > two.min || one.max < two.max) return false;
    frame = one.parent;
    other = two.parent;
  }
  return true;
}

// All places that a set of places reaches without a byte.
struct Machine::Closure {
  struct Todo {
    NodeId node;
    uint32_t min, max;  // repetitions that remain
    uint32_t frame;
    bool operator==(const Todo&) const = default;
  };

  // Its slot in the table, or the slot to use.
  size_t slot_of(const Todo& todo) const {
    const uint64_t h = mix(mix(1, uint64_t(todo.node) << 32 | todo.frame), uint64_t(todo.min) << 32 | todo.max);
    size_t slot = h & (table.size() - 1);
    while (table[slot] != 0 && order[table[slot] - 1] != todo) slot = (slot + 1) & (table.size() - 1);
    return slot;
  }
  bool is_known(const Todo& todo) {
    // Most sets are small, and a linear search in them is faster.
    constexpr size_t kFew = 48;
    if (order.size() < kFew) return std::find(order.begin(), order.end(), todo) != order.end();
    if (table.size() < 2 * order.size() + 2) {
      table.assign(std::max<size_t>(256, 2 * table.size()), 0);
      for (size_t i = 0; i < order.size(); ++i) table[slot_of(order[i])] = uint32_t(i + 1);
    }
    uint32_t& at = table[slot_of(todo)];
    if (at != 0) return true;
    at = uint32_t(order.size() + 1);  // the index that it will get, plus 1
    return false;
  }
  // Ways that lead only where another one also leads are skipped. Only the last few are compared: the previous states
  // kept few such ways.
  bool is_covered(const Todo& todo) const {
    constexpr size_t kLast = 16;
    if (todo.frame == 0) return false;
    const size_t from = order.size() > kLast ? order.size() - kLast : 0;
    for (size_t i = order.size(); i-- > from;) {
      const Todo& other = order[i];
      const bool same = other.node == todo.node && other.min <= todo.min && other.max >= todo.max;
      if (same && machine.covers(other.frame, todo.frame)) return true;
    }
    return false;
  }
  void reach(NodeId node, uint32_t frame) {
    const Node& n = machine.graph_.node(node);
    reach(node, n.kind == Node::Kind::kRepeat ? n.min : 0, n.kind == Node::Kind::kRepeat ? n.max : 0, frame);
  }
  void reach(NodeId node, uint32_t min, uint32_t max, uint32_t frame) {
    const Graph& graph = machine.graph_;
    const Frame& around = machine.frames_[frame];
    if (graph.distance(node) >= kNever || around.distance >= kNever) return;
    if (around.depth + graph.height(node) > Graph::kMaxDepth) return;
    const Todo todo = {node, min, max, frame};
    if (is_known(todo) || is_covered(todo)) return;
    if (order.size() >= kMaxPlaces) {
      throw Error(Code::kUnsupported,
                  str("the constraint leaves more than ", kMaxPlaces,
                      " ways open at once: write the pattern or the choices less ambiguously"),
                  "constraint");
    }
    order.push_back(todo);
  }
  void enter(const Todo& at, uint32_t min, uint32_t max) {
    const Graph& graph = machine.graph_;
    const Node& node = graph.node(at.node);
    const Frame around = machine.frames_[at.frame];
    if (around.depth + 1 + graph.height(graph.start(node.rule)) > Graph::kMaxDepth) return;
    Frame frame = {at.node, min, max, at.frame, around.depth + 1, 0};
    frame.distance = distance_sum(1, around.distance, graph.distance(node.next));
    frame.distance = distance_sum(min, graph.distance(graph.start(node.rule)), frame.distance);
    reach(graph.start(node.rule), machine.frame_of(frame));
  }
  void visit(const Todo& at) {
    const Node& node = machine.graph_.node(at.node);
    switch (node.kind) {
      case Node::Kind::kStep:
        for (const NodeId skip : node.skips) reach(skip, at.frame);
        if (!node.edges.empty()) places.push_back({at.node, at.frame});
        break;
      case Node::Kind::kCall:
        enter(at, 0, 0);
        break;
      case Node::Kind::kRepeat:
        if (at.max > 0) enter(at, at.min > 0 ? at.min - 1 : 0, at.max == kUnlimited ? kUnlimited : at.max - 1);
        if (at.min == 0) reach(node.next, at.frame);
        break;
      case Node::Kind::kEnd: {
        const Frame frame = machine.frames_[at.frame];
        if (at.frame == 0) {
          accepts = true;
        } else if (machine.graph_.node(frame.node).kind == Node::Kind::kCall) {
          reach(machine.graph_.node(frame.node).next, frame.parent);
        } else {
          reach(frame.node, frame.min, frame.max, frame.parent);
        }
        break;
      }
    }
  }

  Machine& machine;
  std::vector<Todo> order{};
  std::vector<uint32_t> table{};  // by hash: 1 + the index in `order`; 0: none. A power of two, or empty
  std::vector<Place> places{};
  bool accepts = false;
};

StateId Machine::start() { return close({{graph_.start(graph_.root()), 0}}); }

StateId Machine::close(std::vector<Place> places) {
  // Checked before the work, so that each walk gets at least one state further.
  if (work_ >= most_ || taken() >= slice_) throw WalkEnds();
  if (cancelled_ != nullptr && cancelled_->load(std::memory_order_relaxed)) {
    throw Error(Code::kCancelled, "the request that needs the mask has ended");
  }
  Closure closure{*this};
  for (const Place& place : places) closure.reach(place.node, place.frame);
  for (size_t i = 0; i < closure.order.size(); ++i) closure.visit(Closure::Todo(closure.order[i]));
  work_ += kWorkOfState + closure.order.size();
  if (closure.places.empty() && !closure.accepts) return kDead;
  uint32_t plain = 0;
  // A single place has led here. The nodes on its way without a byte show whether it is inside a string.
  if (places.size() == 1) {
    for (const Closure::Todo& at : closure.order) {
      const Node& node = graph_.node(at.node);
      if (at.node == plain_node_) plain = kUnlimited;
      if (node.kind == Node::Kind::kRepeat && node.rule == plain_rule_) plain = at.max;
      if (node.kind == Node::Kind::kStep && node.edges.empty() && node.skips.size() > 1) {
        plain = 0;  // a choice: other ways are open too
        break;
      }
    }
  }
  uint32_t distance = closure.accepts ? 0 : kNever;
  for (const Place& place : closure.places) {
    distance = std::min(distance, distance_sum(1, graph_.distance(place.node), frames_[place.frame].distance));
  }
  std::sort(closure.places.begin(), closure.places.end());
  closure.places.erase(std::unique(closure.places.begin(), closure.places.end()), closure.places.end());
  remove_covered(closure.places);
  return intern(std::move(closure.places), closure.accepts, distance, plain);
}

// Removes places that another place covers: `(\w{1,9} ?){1,9}` has 9 places after any text instead of 81. Many
// remaining places that do not cover each other are not all compared, because that would cost more than it saves.
void Machine::remove_covered(std::vector<Place>& places) const {
  constexpr size_t kCompared = 48;
  size_t kept = 0;
  for (size_t begin = 0, end = 0; begin < places.size(); begin = end) {
    while (end < places.size() && places[end].node == places[begin].node) ++end;
    const size_t first = kept;
    for (size_t i = begin; i < end; ++i) {
      const Place place = places[i];
      const size_t from = std::max(first, kept > kCompared ? kept - kCompared : 0);
      bool is_covered = false;
      size_t to = from;
      for (size_t k = from; k < kept && !is_covered; ++k) is_covered = covers(places[k].frame, place.frame);
      if (is_covered) continue;
      for (size_t k = from; k < kept; ++k) {
        if (!covers(place.frame, places[k].frame)) places[to++] = places[k];
      }
      places[to++] = place;
      kept = to;
    }
  }
  places.resize(kept);
}

StateId Machine::intern(std::vector<Place> places, bool accepts, uint32_t distance, uint32_t plain) {
  // The end is a place too. Without it, two states could differ only in whether the text may end.
  if (accepts) places.push_back({Graph::kEndNode, 0});
  if (const auto known = ids_.find(places); known != ids_.end()) return known->second;
  if (bytes() >= graph_bytes_ + kMostBytes) {
    throw Error(Code::kUnsupported,
                str("the constraint leaves so many ways open that they take more than ", kMostBytes >> 20,
                    " MiB: write the pattern or the choices less ambiguously"),
                "constraint");
  }
  if (states_.size() == states_.capacity()) states_.reserve(2 * states_.size() + 1);
  const size_t size = (states_.size() + 1) * classes_;
  if (next_.capacity() < size) next_.reserve(2 * size);
  next_.resize(size, kUnknown);
  const auto at = ids_.emplace(std::move(places), StateId(states_.size())).first;
  places_ += at->first.size();
  states_.push_back({&at->first, distance, plain, accepts});
  return at->second;
}

StateId Machine::find_step(StateId from, uint8_t byte) {
  std::vector<Place> reached;
  for (const Place& place : *states_[from].places) {
    for (const Edge& edge : graph_.node(place.node).edges) {
      if (edge.first <= byte && byte <= edge.last) reached.push_back({edge.to, place.frame});
    }
  }
  std::sort(reached.begin(), reached.end());
  reached.erase(std::unique(reached.begin(), reached.end()), reached.end());
  const StateId to = reached.empty() ? kDead : close(std::move(reached));
  next_[size_t(from) * classes_ + graph_.class_of(byte)] = to;
  return to;
}

size_t Machine::bytes() const {
  return graph_bytes_ + states_.capacity() * sizeof(State) + next_.capacity() * sizeof(uint32_t) +
         states_.size() * kBytesOfEntry + places_ * sizeof(Place) + frames_.capacity() * sizeof(Frame) +
         frames_.size() * (sizeof(Frame) + kBytesOfEntry);
}

void Machine::collect(std::span<StateId* const> in_use) {
  const std::vector<Frame> frames = std::move(frames_);
  std::vector<State> states;
  std::vector<std::vector<Place>> places;
  for (const StateId* state : in_use) {
    states.push_back(states_[*state]);
    places.push_back(*states_[*state].places);
  }
  reset();
  // A frame's parent was made before it.
  std::unordered_map<uint32_t, uint32_t> moved = {{0, 0}};
  const auto move = [&](uint32_t frame) {
    std::vector<uint32_t> chain;
    for (; !moved.contains(frame); frame = frames[frame].parent) chain.push_back(frame);
    uint32_t parent = moved[frame];
    for (auto one = chain.rbegin(); one != chain.rend(); ++one) {
      Frame copy = frames[*one];
      copy.parent = parent;
      parent = moved[*one] = frame_of(copy);
    }
    return parent;
  };
  for (size_t i = 0; i < states.size(); ++i) {
    if (*in_use[i] == kDead) continue;
    if (states[i].accepts) places[i].pop_back();
    for (Place& place : places[i]) place.frame = moved.contains(place.frame) ? moved[place.frame] : move(place.frame);
    std::sort(places[i].begin(), places[i].end());
    *in_use[i] = intern(std::move(places[i]), states[i].accepts, states[i].distance, states[i].plain);
  }
}

}  // namespace oss::grammar
