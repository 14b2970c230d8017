#include "native/grammar/graph.h"

#include <algorithm>
#include <bitset>

#include "native/base/error.h"
#include "native/base/str.h"
#include "native/tokenizer/vocabulary.h"

namespace oss::grammar {

uint32_t distance_sum(uint64_t a, uint64_t b, uint64_t c) {
  if (a == 0 || b == 0) return uint32_t(std::min<uint64_t>(c, kNever));
  if (b >= kNever || c >= kNever) return kNever;
  return uint32_t(std::min<uint64_t>(a * b + c, kNever));
}

Graph::Graph(Budget& budget) : budget_(&budget) {
  nodes_.push_back({.kind = Node::Kind::kEnd});
  nodes_.push_back({});  // kNowhere: no edge leaves it
}

NodeId Graph::add(Node node) {
  budget_->spend(Work::kNodes);
  if (nodes_.size() >= kMaxNodes) {
    throw Error(Code::kInvalidArgument, str("the constraint takes more than ", kMaxNodes, " nodes: it is too large"));
  }
  nodes_.push_back(std::move(node));
  return NodeId(nodes_.size() - 1);
}

NodeId Graph::range(uint8_t first, uint8_t last, NodeId next) { return ranges({{first, last, next}}); }

NodeId Graph::ranges(std::vector<Edge> edges) {
  std::erase_if(edges, [](const Edge& edge) { return edge.to == kNowhere; });
  return edges.empty() ? kNowhere : add({.edges = std::move(edges)});
}

NodeId Graph::text(std::string_view bytes, NodeId next) {
  for (auto byte = bytes.rbegin(); byte != bytes.rend(); ++byte) next = range(uint8_t(*byte), uint8_t(*byte), next);
  return next;
}

NodeId Graph::any_of(std::vector<NodeId> starts) {
  std::sort(starts.begin(), starts.end());
  starts.erase(std::unique(starts.begin(), starts.end()), starts.end());
  std::erase(starts, kNowhere);
  if (starts.empty()) return kNowhere;
  return starts.size() == 1 ? starts[0] : add({.skips = std::move(starts)});
}

NodeId Graph::call(RuleId rule, NodeId next) {
  return next == kNowhere ? kNowhere : add({.kind = Node::Kind::kCall, .rule = rule, .next = next});
}

NodeId Graph::repeat(RuleId rule, uint32_t min, uint32_t max, NodeId next) {
  if (min > max || next == kNowhere) return kNowhere;
  if (max == 0) return next;
  return add({.kind = Node::Kind::kRepeat, .rule = rule, .next = next, .min = min, .max = max});
}

void Graph::fill(NodeId placeholder, std::vector<Edge> edges, std::vector<NodeId> skips) {
  nodes_[placeholder].edges = std::move(edges);
  nodes_[placeholder].skips = std::move(skips);
}

RuleId Graph::add_rule(NodeId start) {
  starts_.push_back(start);
  return RuleId(starts_.size() - 1);
}

// Sorted texts share what they begin with. A stack of open nodes instead of recursion: texts may be long.
NodeId Graph::choice(std::vector<std::string> texts, NodeId next) {
  std::sort(texts.begin(), texts.end());
  texts.erase(std::unique(texts.begin(), texts.end()), texts.end());
  if (texts.empty()) return kNowhere;
  std::vector<Node> open(1);  // by depth
  std::string path;
  const auto close_to = [&](size_t depth) {
    while (path.size() > depth) {
      const NodeId closed = add(std::move(open.back()));
      open.pop_back();
      open.back().edges.push_back({uint8_t(path.back()), uint8_t(path.back()), closed});
      path.pop_back();
    }
  };
  for (const std::string& text : texts) {
    size_t common = 0;
    while (common < path.size() && common < text.size() && path[common] == text[common]) ++common;
    close_to(common);
    for (size_t i = common; i < text.size(); ++i) {
      open.emplace_back();
      path += text[i];
    }
    open.back().skips.push_back(next);
  }
  close_to(0);
  return add(std::move(open[0]));
}

void Graph::find_jumps() {
  constexpr size_t kLongest = 24;
  const tokenizer::Vocabulary& vocabulary = tokenizer::Vocabulary::get();
  for (NodeId id = 0; id < nodes_.size(); ++id) {
    jump_begins_.push_back(uint32_t(jumps_.size()));
    std::vector<uint8_t> bytes;
    for (NodeId at = id; bytes.size() < kLongest;) {
      const Node& node = nodes_[at];
      if (node.edges.empty() && node.skips.size() == 1 && at != id) {
        at = node.skips[0];
        continue;
      }
      if (node.edges.size() != 1 || !node.skips.empty() || node.edges[0].first != node.edges[0].last) break;
      bytes.push_back(node.edges[0].first);
      at = node.edges[0].to;
      const bool is_token = bytes.size() > 1 && vocabulary.find(bytes.data(), bytes.size()) != vocabulary.kNone;
      if (is_token) jumps_.push_back(at);
    }
  }
  jump_begins_.push_back(uint32_t(jumps_.size()));
}

uint32_t Graph::distance_through(NodeId id) const {
  const Node& node = nodes_[id];
  switch (node.kind) {
    case Node::Kind::kEnd:
      return 0;
    case Node::Kind::kCall:
      return distance_sum(1, distances_[starts_[node.rule]], distances_[node.next]);
    case Node::Kind::kRepeat:
      return distance_sum(node.min, distances_[starts_[node.rule]], distances_[node.next]);
    case Node::Kind::kStep:
      break;
  }
  uint32_t least = kNever;
  for (const Edge& edge : node.edges) least = std::min(least, distance_sum(1, 1, distances_[edge.to]));
  for (const NodeId skip : node.skips) least = std::min(least, distances_[skip]);
  if (!jumps_.empty()) {
    for (uint32_t i = jump_begins_[id]; i < jump_begins_[id + 1]; ++i) {
      least = std::min(least, distance_sum(1, 1, distances_[jumps_[i]]));
    }
  }
  return least;
}

uint32_t Graph::height_through(const Node& node) const {
  const auto inner = [&] { return distance_sum(1, 1, heights_[starts_[node.rule]]); };
  switch (node.kind) {
    case Node::Kind::kEnd:
      return 0;
    case Node::Kind::kCall:
      return std::max(inner(), heights_[node.next]);
    case Node::Kind::kRepeat:
      return node.min == 0 ? heights_[node.next] : std::max(inner(), heights_[node.next]);
    case Node::Kind::kStep:
      break;
  }
  uint32_t least = kNever;
  for (const Edge& edge : node.edges) least = std::min(least, heights_[edge.to]);
  for (const NodeId skip : node.skips) least = std::min(least, heights_[skip]);
  return least;
}

void Graph::finish(RuleId root, bool has_long_tokens) {
  root_ = root;
  if (has_long_tokens) find_jumps();
  distances_.assign(nodes_.size(), kNever);
  heights_.assign(nodes_.size(), kNever);
  // What a node needs was mostly built before it, so few rounds are enough: one for each level of recursion.
  for (bool changed = true; changed;) {
    changed = false;
    for (NodeId id = 0; id < nodes_.size(); ++id) {
      const uint32_t distance = distance_through(id), height = height_through(nodes_[id]);
      changed |= distance != distances_[id] || height != heights_[id];
      distances_[id] = distance;
      heights_[id] = height;
    }
  }
  if (distances_[starts_[root]] >= kNever) throw Error(Code::kInvalidArgument, "no text satisfies the constraint");
  if (heights_[starts_[root]] > kMaxDepth) {
    throw Error(Code::kInvalidArgument, str("every text of the constraint is nested deeper than ", kMaxDepth, " levels"));
  }
  refuse_left_recursion();

  std::bitset<257> begins;
  begins[0] = true;
  for (const Node& node : nodes_) {
    for (const Edge& edge : node.edges) {
      begins[edge.first] = true;
      begins[size_t(edge.last) + 1] = true;
    }
  }
  for (int byte = 0; byte < 256; ++byte) {
    if (begins[size_t(byte)]) representatives_.push_back(uint8_t(byte));
    classes_[size_t(byte)] = uint8_t(representatives_.size() - 1);
  }
}

// Rules that a rule may begin with, before any byte, must not lead back to it. Rules that nobody waits for are taken out
// until none is left; what remains waits for itself.
void Graph::refuse_left_recursion() const {
  std::vector<std::vector<RuleId>> begins_with(starts_.size());
  std::vector<int> waiting(starts_.size());
  for (RuleId rule = 0; rule < starts_.size(); ++rule) {
    std::vector<NodeId> found = {starts_[rule]};
    std::vector<bool> seen(nodes_.size());
    seen[starts_[rule]] = true;
    const auto reach = [&](NodeId id) {
      if (seen[id]) return;
      seen[id] = true;
      found.push_back(id);
    };
    for (size_t i = 0; i < found.size(); ++i) {
      const Node& node = nodes_[found[i]];
      for (const NodeId skip : node.skips) reach(skip);
      if (node.kind != Node::Kind::kCall && node.kind != Node::Kind::kRepeat) continue;
      begins_with[rule].push_back(node.rule);
      if (distances_[starts_[node.rule]] == 0 || node.min == 0) reach(node.next);
    }
    for (const RuleId callee : begins_with[rule]) ++waiting[callee];
  }
  std::vector<RuleId> free;
  for (RuleId rule = 0; rule < starts_.size(); ++rule) {
    if (waiting[rule] == 0) free.push_back(rule);
  }
  for (size_t i = 0; i < free.size(); ++i) {
    for (const RuleId callee : begins_with[free[i]]) {
      if (--waiting[callee] == 0) free.push_back(callee);
    }
  }
  if (free.size() < starts_.size()) {
    throw Error(Code::kInvalidArgument, "a part of the constraint begins with itself: such recursion never ends");
  }
}

}  // namespace oss::grammar
