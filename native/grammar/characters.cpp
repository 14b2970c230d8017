#include "native/grammar/characters.h"

#include <algorithm>
#include <map>

namespace oss::grammar {
namespace {

constexpr uint32_t kLastCodePoint = 0x10FFFF;

// Trees of edges, in which characters with equal first bytes share the node behind them.
struct ByteTree {
  struct Branch {
    uint8_t first, last;
    std::vector<std::pair<uint8_t, uint8_t>> rest;  // ranges of the bytes that follow
  };
  std::vector<Branch> branches;

  void add(const std::vector<std::pair<uint8_t, uint8_t>>& bytes) {
    branches.push_back({bytes[0].first, bytes[0].second, {bytes.begin() + 1, bytes.end()}});
  }
};

std::vector<uint8_t> utf8_of(uint32_t code) {
  if (code < 0x80) return {uint8_t(code)};
  if (code < 0x800) return {uint8_t(0xC0 | code >> 6), uint8_t(0x80 | (code & 0x3F))};
  if (code < 0x10000) {
    return {uint8_t(0xE0 | code >> 12), uint8_t(0x80 | (code >> 6 & 0x3F)), uint8_t(0x80 | (code & 0x3F))};
  }
  return {uint8_t(0xF0 | code >> 18), uint8_t(0x80 | (code >> 12 & 0x3F)), uint8_t(0x80 | (code >> 6 & 0x3F)),
          uint8_t(0x80 | (code & 0x3F))};
}

// Splits a range until each byte of its characters has one range that does not depend on the other bytes.
void add_utf8(uint32_t first, uint32_t last, ByteTree& tree) {
  for (const uint32_t border : {0x7Fu, 0x7FFu, 0xFFFFu}) {
    if (first <= border && border < last) {
      add_utf8(first, border, tree);
      add_utf8(border + 1, last, tree);
      return;
    }
  }
  const size_t length = utf8_of(first).size();
  for (size_t i = 1; i < length; ++i) {
    const uint32_t low = (1u << 6 * i) - 1;  // the bits of the last i bytes
    if ((first & ~low) == (last & ~low)) continue;
    if ((first & low) != 0) {
      add_utf8(first, first | low, tree);
      add_utf8((first | low) + 1, last, tree);
      return;
    }
    if ((last & low) != low) {
      add_utf8(first, (last & ~low) - 1, tree);
      add_utf8(last & ~low, last, tree);
      return;
    }
  }
  const std::vector<uint8_t> from = utf8_of(first), to = utf8_of(last);
  std::vector<std::pair<uint8_t, uint8_t>> bytes;
  for (size_t i = 0; i < length; ++i) bytes.push_back({from[i], to[i]});
  tree.add(bytes);
}

class Writer {
 public:
  Writer(Graph& graph, NodeId next) : graph_(graph), next_(next) {}

  std::vector<Edge> edges(const ByteTree& tree) {
    constexpr uint64_t kNodesOfBranch = 25;  // in time
    graph_.spend(Work::kNodes, kNodesOfBranch * tree.branches.size());
    std::map<std::pair<uint8_t, uint8_t>, std::vector<std::vector<std::pair<uint8_t, uint8_t>>>> by_first;
    for (const ByteTree::Branch& branch : tree.branches) by_first[{branch.first, branch.last}].push_back(branch.rest);
    std::vector<Edge> out;
    for (const auto& [bytes, rests] : by_first) out.push_back({bytes.first, bytes.second, after(rests)});
    return out;
  }

 private:
  NodeId after(const std::vector<std::vector<std::pair<uint8_t, uint8_t>>>& rests) {
    if (rests.size() == 1 && rests[0].empty()) return next_;
    const auto [at, is_new] = known_.try_emplace(rests, Graph::kNowhere);
    if (!is_new) return at->second;
    ByteTree tree;
    for (const auto& rest : rests) tree.add(rest);
    const NodeId made = graph_.ranges(edges(tree));
    known_[rests] = made;
    return made;
  }

  Graph& graph_;
  const NodeId next_;
  std::map<std::vector<std::vector<std::pair<uint8_t, uint8_t>>>, NodeId> known_;
};

// Characters that a JSON string must escape: quote, backslash, and control characters.
constexpr CodePoints kEscaped[] = {{0, 0x1F}, {'"', '"'}, {'\\', '\\'}};

void add_escape(uint32_t code, ByteTree& tree) {
  constexpr char kHex[] = "0123456789abcdef";
  std::string text = {'\\', 'u', '0', '0', kHex[code >> 4 & 15], kHex[code & 15]};
  constexpr std::pair<uint32_t, char> kShort[] = {{'"', '"'},  {'\\', '\\'}, {'\b', 'b'}, {'\f', 'f'},
                                                  {'\n', 'n'}, {'\r', 'r'},  {'\t', 't'}};
  for (const auto& [of, letter] : kShort) {
    if (of == code) text = {'\\', letter};
  }
  std::vector<std::pair<uint8_t, uint8_t>> bytes;
  for (const char byte : text) bytes.push_back({uint8_t(byte), uint8_t(byte)});
  tree.add(bytes);
}

}  // namespace

CodePointSet normalized(CodePointSet set) {
  CodePointSet out;
  const auto add = [&](uint32_t first, uint32_t last) {
    if (first > last) return;
    if (!out.empty() && first <= out.back().last + 1) {
      out.back().last = std::max(out.back().last, last);
    } else {
      out.push_back({first, last});
    }
  };
  std::sort(set.begin(), set.end(), [](const CodePoints& a, const CodePoints& b) { return a.first < b.first; });
  for (const CodePoints& range : set) add(range.first, std::min(range.last, kLastCodePoint));
  CodePointSet apart;
  for (const CodePoints& range : out) {
    if (range.first < 0xD800) apart.push_back({range.first, std::min(range.last, 0xD7FFu)});
    if (range.last > 0xDFFF) apart.push_back({std::max(range.first, 0xE000u), range.last});
  }
  return apart;
}

CodePointSet complement_of(const CodePointSet& set) {
  CodePointSet out;
  uint32_t next = 0;
  for (const CodePoints& range : set) {
    if (range.first > next) out.push_back({next, range.first - 1});
    next = range.last + 1;
  }
  out.push_back({next, kLastCodePoint});
  return normalized(std::move(out));
}

std::vector<Edge> character_edges(Graph& graph, const CodePointSet& set, Spelling spelling, NodeId next) {
  ByteTree tree;
  for (const CodePoints& range : set) {
    uint32_t first = range.first;
    if (spelling == Spelling::kJsonString) {
      for (const CodePoints& escaped : kEscaped) {
        if (escaped.last < first || escaped.first > range.last) continue;
        if (first < escaped.first) add_utf8(first, escaped.first - 1, tree);
        for (uint32_t code = std::max(first, escaped.first); code <= std::min(escaped.last, range.last); ++code) {
          add_escape(code, tree);
        }
        first = escaped.last + 1;
      }
    }
    if (first <= range.last) add_utf8(first, range.last, tree);
  }
  return Writer(graph, next).edges(tree);
}

NodeId character(Graph& graph, const CodePointSet& set, Spelling spelling, NodeId next) {
  return next == Graph::kNowhere ? next : graph.ranges(character_edges(graph, set, spelling, next));
}

}  // namespace oss::grammar
