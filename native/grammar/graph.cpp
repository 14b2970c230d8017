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

Graph::Graph(Budget* budget) : budget_(budget) {
  nodes_.push_back({.kind = Node::Kind::kEnd});
  nodes_.push_back({});  // kNowhere: it has no edges
}

NodeId Graph::add(Node node) {
  spend(Work::kNodes);
  if (nodes_.size() >= kMaxNodes) {
    throw Error(Code::kInvalidArgument, str("too large to compile: more than ", kMaxNodes, " nodes"));
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

// Sorted texts share their beginnings. A stack of open nodes replaces recursion, because texts may be long.
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
      spend(Work::kNodes);
      const bool is_token = bytes.size() > 1 && vocabulary.find(bytes.data(), bytes.size()) != vocabulary.kNone;
      if (is_token) jumps_.push_back(at);
    }
  }
  jump_begins_.push_back(uint32_t(jumps_.size()));
}

size_t Graph::bytes() const {
  size_t bytes = nodes_.size() * (sizeof(Node) + 3 * sizeof(uint32_t)) + jumps_.size() * sizeof(NodeId);
  for (const Node& node : nodes_) bytes += node.edges.size() * sizeof(Edge) + node.skips.size() * sizeof(NodeId);
  return bytes;
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

// Calls visit(node) for every node that determines the distance or height of `id`.
template <typename Visit>
void Graph::for_each_needed(NodeId id, Visit&& visit) const {
  const Node& node = nodes_[id];
  for (const Edge& edge : node.edges) visit(edge.to);
  for (const NodeId skip : node.skips) visit(skip);
  if (node.kind == Node::Kind::kCall || node.kind == Node::Kind::kRepeat) {
    visit(starts_[node.rule]);
    visit(node.next);
  }
  for (uint32_t i = jumps_.empty() ? 0 : jump_begins_[id]; i < (jumps_.empty() ? 0 : jump_begins_[id + 1]); ++i) {
    visit(jumps_[i]);
  }
}

Graph::Users Graph::find_users() const {
  Users out;
  out.begins.assign(nodes_.size() + 1, 0);
  for (NodeId id = 0; id < nodes_.size(); ++id) {
    for_each_needed(id, [&](NodeId needed) { ++out.begins[needed + 1]; });
  }
  for (size_t id = 0; id < nodes_.size(); ++id) out.begins[id + 1] += out.begins[id];
  spend(Work::kNodes, out.begins.back());
  out.users.resize(out.begins.back());
  std::vector<uint32_t> at(out.begins.begin(), out.begins.end() - 1);
  for (NodeId id = 0; id < nodes_.size(); ++id) {
    for_each_needed(id, [&](NodeId needed) { out.users[at[needed]++] = id; });
  }
  return out;
}

// Both values only decrease: a node is visited again when a node that it depends on has changed.
void Graph::find_distances() {
  distances_.assign(nodes_.size(), kNever);
  heights_.assign(nodes_.size(), kNever);
  const Users users = find_users();
  std::vector<bool> is_waiting(nodes_.size(), true);
  std::vector<NodeId> now, then;
  // Most nodes were built after the nodes that they depend on.
  for (NodeId id = 0; id < nodes_.size(); ++id) now.push_back(id);
  while (!now.empty()) {
    for (const NodeId id : now) {
      is_waiting[id] = false;
      const uint32_t distance = distance_through(id), height = height_through(nodes_[id]);
      if (distance == distances_[id] && height == heights_[id]) continue;
      distances_[id] = distance;
      heights_[id] = height;
      spend(Work::kNodes, users.begins[id + 1] - users.begins[id]);
      for (uint32_t i = users.begins[id]; i < users.begins[id + 1]; ++i) {
        const NodeId user = users.users[i];
        if (is_waiting[user]) continue;
        is_waiting[user] = true;
        then.push_back(user);
      }
    }
    spend(Work::kNodes, now.size());
    now.swap(then);
    then.clear();
  }
}

void Graph::finish(RuleId root, bool has_long_tokens) {
  root_ = root;
  if (has_long_tokens) find_jumps();
  find_distances();
  if (distances_[starts_[root]] >= kNever) throw Error(Code::kInvalidArgument, "no text satisfies it");
  if (heights_[starts_[root]] > kMaxDepth) {
    throw Error(Code::kInvalidArgument,
                str("every text of the constraint is nested deeper than ", kMaxDepth, " levels"));
  }
  refuse_left_recursion();
  budget_ = nullptr;

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

// A rule must not lead back to itself before any byte. Rules that no other rule begins with are removed repeatedly; the
// remaining ones begin with themselves.
void Graph::refuse_left_recursion() const {
  std::vector<std::vector<RuleId>> begins_with(starts_.size());
  std::vector<int> waiting(starts_.size());
  std::vector<RuleId> seen(nodes_.size(), ~0u);  // by node: the last rule that visited it
  for (RuleId rule = 0; rule < starts_.size(); ++rule) {
    std::vector<NodeId> found = {starts_[rule]};
    seen[starts_[rule]] = rule;
    const auto reach = [&](NodeId id) {
      if (seen[id] == rule) return;
      seen[id] = rule;
      found.push_back(id);
    };
    for (size_t i = 0; i < found.size(); ++i) {
      const Node& node = nodes_[found[i]];
      spend(Work::kNodes, 1 + node.skips.size());
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
