#include "native/grammar/regular.h"

#include <algorithm>

#include "native/base/utf8.h"

namespace oss::grammar {
namespace {

const CodePointSet kEveryCharacter = {{0, 0xD7FF}, {0xE000, 0x10FFFF}};

// Characters of one byte that JSON does not escape.
const CodePointSet kPlain = {{0x20, '"' - 1}, {'"' + 1, '\\' - 1}, {'\\' + 1, 0x7E}};

CodePointSet in_common(const CodePointSet& a, const CodePointSet& b) {
  CodePointSet out;
  for (const CodePoints& one : a) {
    for (const CodePoints& other : b) {
      const uint32_t first = std::max(one.first, other.first), last = std::min(one.last, other.last);
      if (first <= last) out.push_back({first, last});
    }
  }
  return out;
}

// `text` must be well-formed.
uint32_t take_code_point(std::string_view& text) {
  const size_t length = utf8_begin(text).length;
  const uint8_t lead = uint8_t(text[0]);
  uint32_t code = length == 1 ? lead : lead & (0x7Fu >> length);
  for (size_t i = 1; i < length; ++i) code = code << 6 | (uint8_t(text[i]) & 0x3Fu);
  text.remove_prefix(length);
  return code;
}

}  // namespace

Regular::Regular(Graph& graph) : graph_(graph) {
  intern(Kind::kNothing, {}, 0, 0, false);
  intern(Kind::kEmpty, {}, 0, 0, true);
  intern(Kind::kNot, {kNothing}, 0, 0, true);
  any_ = characters(kEveryCharacter);
}

Regular::Id Regular::intern(Kind kind, std::vector<Id> parts, uint32_t min, uint32_t max, bool is_nullable) {
  work(1 + parts.size());
  const auto [at, is_new] = ids_.try_emplace(Key{kind, min, max, parts}, Id(nodes_.size()));
  if (is_new) nodes_.push_back({kind, is_nullable, min, max, std::move(parts)});
  return at->second;
}

Regular::Id Regular::characters(const CodePointSet& set) {
  if (set.empty()) return kNothing;
  std::vector<std::pair<uint32_t, uint32_t>> key;
  for (const CodePoints& range : set) key.emplace_back(range.first, range.last);
  const auto [at, is_new] = set_ids_.try_emplace(std::move(key), uint32_t(sets_.size()));
  if (is_new) sets_.push_back(set);
  return intern(Kind::kSet, {}, at->second, 0, false);
}

Regular::Id Regular::text(std::string_view utf8) {
  std::vector<uint32_t> codes;
  while (!utf8.empty()) codes.push_back(take_code_point(utf8));
  Id out = kEmpty;
  for (auto code = codes.rbegin(); code != codes.rend(); ++code) out = sequence(characters({{*code, *code}}), out);
  return out;
}

Regular::Id Regular::sequence(Id first, Id then) {
  if (first == kNothing || then == kNothing) return kNothing;
  if (first == kEmpty) return then;
  if (then == kEmpty) return first;
  if (first == kAnything && then == kAnything) return kAnything;
  if (nodes_[first].kind == Kind::kSequence) {
    const Id a = nodes_[first].parts[0], b = nodes_[first].parts[1];
    return sequence(a, sequence(b, then));
  }
  return intern(Kind::kSequence, {first, then}, 0, 0, accepts_empty(first) && accepts_empty(then));
}

// For kEither, a part kAnything makes the whole kAnything, and parts kNothing are dropped. For kBoth it is the other
// way round.
Regular::Id Regular::list(Kind kind, std::vector<Id> parts) {
  const Id neutral = kind == Kind::kEither ? kNothing : kAnything, final = kind == Kind::kEither ? kAnything : kNothing;
  std::vector<Id> flat;
  for (const Id part : parts) {
    if (nodes_[part].kind == kind) {
      flat.insert(flat.end(), nodes_[part].parts.begin(), nodes_[part].parts.end());
    } else if (part != neutral) {
      flat.push_back(part);
    }
  }
  work(flat.size());
  std::sort(flat.begin(), flat.end());
  flat.erase(std::unique(flat.begin(), flat.end()), flat.end());
  if (std::find(flat.begin(), flat.end(), final) != flat.end()) return final;
  if (flat.empty()) return neutral;
  if (flat.size() == 1) return flat[0];
  const auto is_nullable = [&](Id id) { return accepts_empty(id); };
  const bool all = std::all_of(flat.begin(), flat.end(), is_nullable);
  if (kind == Kind::kBoth) {
    if (std::find(flat.begin(), flat.end(), kEmpty) != flat.end()) return all ? kEmpty : kNothing;
    return intern(kind, std::move(flat), 0, 0, all);
  }
  const bool any = std::any_of(flat.begin(), flat.end(), is_nullable);
  return intern(kind, std::move(flat), 0, 0, any);
}

Regular::Id Regular::negated(Id of) {
  if (nodes_[of].kind == Kind::kNot) return nodes_[of].parts[0];
  return intern(Kind::kNot, {of}, 0, 0, !accepts_empty(of));
}

Regular::Id Regular::counted(Id of, uint32_t min, uint32_t max) {
  if (min > max) return kNothing;
  if (max == 0 || of == kEmpty) return kEmpty;
  if (of == kNothing) return min == 0 ? kEmpty : kNothing;
  if (accepts_empty(of)) min = 0;  // the empty text can fill the missing repetitions
  if (min == 1 && max == 1) return of;
  if (min == 0 && max == kUnlimited && (of == any_ || of == kAnything)) return kAnything;
  return intern(Kind::kCounted, {of}, min, max, min == 0);
}

void Regular::find_classes() {
  if (sets_in_classes_ == sets_.size()) return;
  sets_in_classes_ = sets_.size();
  derived_.clear();
  std::vector<uint32_t> begins = {0};
  for (const CodePointSet& set : sets_) {
    for (const CodePoints& range : set) {
      begins.push_back(range.first);
      begins.push_back(range.last + 1);
    }
  }
  std::sort(begins.begin(), begins.end());
  begins.erase(std::unique(begins.begin(), begins.end()), begins.end());
  work(begins.size() * sets_.size());
  std::map<std::vector<bool>, uint32_t> known;
  borders_.clear();
  classes_.clear();
  std::vector<size_t> at(sets_.size());  // the current range of each set
  for (size_t i = 0; i < begins.size(); ++i) {
    const uint32_t first = begins[i], last = (i + 1 < begins.size() ? begins[i + 1] : 0x110000) - 1;
    if (first == 0xD800 || first > 0x10FFFF) continue;  // surrogates are not characters
    std::vector<bool> in(sets_.size());
    for (size_t set = 0; set < sets_.size(); ++set) {
      while (at[set] < sets_[set].size() && sets_[set][at[set]].last < first) ++at[set];
      in[set] = at[set] < sets_[set].size() && sets_[set][at[set]].first <= first;
    }
    const auto [of, is_new] = known.try_emplace(in, uint32_t(classes_.size()));
    if (is_new) classes_.emplace_back();
    classes_[of->second].push_back({first, last});
    borders_.emplace_back(first, of->second);
  }
  members_.assign(sets_.size(), std::vector<bool>(classes_.size()));
  for (const auto& [in, of_class] : known) {
    for (size_t set = 0; set < in.size(); ++set) members_[set][of_class] = in[set];
  }
}

uint32_t Regular::class_of(uint32_t code) const {
  const auto after = std::upper_bound(borders_.begin(), borders_.end(), std::pair(code, ~0u));
  return std::prev(after)->second;
}

Regular::Id Regular::derived(Id id, uint32_t of_class) {
  const Kind kind = nodes_[id].kind;
  if (kind == Kind::kNothing || kind == Kind::kEmpty) return kNothing;
  if (id == kAnything) return kAnything;
  if (kind == Kind::kSet) return members_[nodes_[id].min][of_class] ? kEmpty : kNothing;
  const auto known = derived_.find({id, of_class});
  if (known != derived_.end()) return known->second;
  const Node node = nodes_[id];  // a copy, because nodes are added below
  work(4 + node.parts.size());
  Id out = kNothing;
  switch (kind) {
    case Kind::kSequence: {
      const Id behind_first = sequence(derived(node.parts[0], of_class), node.parts[1]);
      out = accepts_empty(node.parts[0]) ? either({behind_first, derived(node.parts[1], of_class)}) : behind_first;
      break;
    }
    case Kind::kEither:
    case Kind::kBoth: {
      std::vector<Id> parts;
      for (const Id part : node.parts) parts.push_back(derived(part, of_class));
      out = list(kind, std::move(parts));
      break;
    }
    case Kind::kNot:
      out = negated(derived(node.parts[0], of_class));
      break;
    default:
      out = sequence(derived(node.parts[0], of_class), counted(node.parts[0], node.min > 0 ? node.min - 1 : 0,
                                                               node.max == kUnlimited ? node.max : node.max - 1));
  }
  return derived_[{id, of_class}] = out;
}

bool Regular::matches(Id id, std::string_view utf8) {
  find_classes();
  while (!utf8.empty() && id != kNothing) id = derived(id, class_of(take_code_point(utf8)));
  return accepts_empty(id);
}

// All states that an expression reaches, in the order in which they are found.
struct Regular::States {
  std::vector<Id> ids;
  std::vector<std::vector<std::pair<uint32_t, uint32_t>>> ways;  // class, state; only ways that lead to an end
};

Regular::States Regular::states_of(Id id) {
  find_classes();
  States out;
  out.ids = {id};
  std::map<Id, uint32_t> known = {{id, 0}};
  std::vector<std::vector<uint32_t>> from(1);
  for (size_t i = 0; i < out.ids.size(); ++i) {
    out.ways.emplace_back();
    for (uint32_t of_class = 0; of_class < classes_.size(); ++of_class) {
      const Id to = derived(out.ids[i], of_class);
      if (to == kNothing) continue;
      const auto [at, is_new] = known.try_emplace(to, uint32_t(out.ids.size()));
      if (is_new) {
        if (out.ids.size() >= kMostStates) throw TooLarge();
        out.ids.push_back(to);
        from.emplace_back();
      }
      out.ways[i].emplace_back(of_class, at->second);
      from[at->second].push_back(uint32_t(i));
    }
  }
  std::vector<bool> ends(out.ids.size());
  std::vector<uint32_t> todo;
  for (uint32_t i = 0; i < out.ids.size(); ++i) {
    if (!accepts_empty(out.ids[i])) continue;
    ends[i] = true;
    todo.push_back(i);
  }
  while (!todo.empty()) {
    const uint32_t at = todo.back();
    todo.pop_back();
    for (const uint32_t before : from[at]) {
      if (ends[before]) continue;
      ends[before] = true;
      todo.push_back(before);
    }
  }
  for (auto& ways : out.ways) {
    std::erase_if(ways, [&](const auto& way) { return !ends[way.second]; });
  }
  return out;
}

size_t Regular::num_states(Id id) { return states_of(id).ids.size(); }

bool Regular::fits(Id id) {
  // A language that does not fit costs at most a quarter of all work, so that some is left for smaller ones.
  const size_t before = work_;
  try {
    states_of(id);
    return true;
  } catch (const TooLarge&) {
    work_ = std::min(work_, before + kMostWork / 4);
    return false;
  }
}

NodeId Regular::emit(Id id, Spelling spelling, NodeId next) {
  const auto known = rules_.find({id, spelling});
  if (known != rules_.end()) return graph_.call(known->second, next);
  const RuleId rule = graph_.add_rule(start_of(id, spelling));
  rules_[{id, spelling}] = rule;
  return graph_.call(rule, next);
}

// States that are reached last come first, so that most nodes are made after their targets (Graph::finish). Characters
// that JSON does not escape become edges; others become rules, one for each set of them.
NodeId Regular::start_of(Id id, Spelling spelling) {
  const States states = states_of(id);
  constexpr NodeId kUnmade = ~0u;
  std::vector<NodeId> nodes(states.ids.size(), kUnmade);
  std::vector<bool> is_placeholder(states.ids.size());
  std::map<std::vector<uint32_t>, RuleId> rules;  // by classes
  const auto node_of = [&](uint32_t state) {
    if (nodes[state] == kUnmade) {
      nodes[state] = graph_.placeholder();
      is_placeholder[state] = true;
    }
    return nodes[state];
  };
  for (uint32_t state = uint32_t(states.ids.size()); state-- > 0;) {
    std::map<uint32_t, std::vector<uint32_t>> by_target;
    for (const auto& [of_class, to] : states.ways[state]) by_target[to].push_back(of_class);
    std::vector<Edge> edges;
    std::vector<NodeId> ways;
    if (accepts_empty(states.ids[state])) ways.push_back(Graph::kEndNode);
    for (const auto& [to, classes] : by_target) {
      CodePointSet set;
      for (const uint32_t of_class : classes)
        set.insert(set.end(), classes_[of_class].begin(), classes_[of_class].end());
      set = normalized(std::move(set));
      for (const CodePoints& range : in_common(set, kPlain)) {
        edges.push_back({uint8_t(range.first), uint8_t(range.last), node_of(to)});
      }
      const CodePointSet others = in_common(set, complement_of(kPlain));
      if (others.empty()) continue;
      const auto [rule, is_new] = rules.try_emplace(classes, 0);
      if (is_new) rule->second = graph_.add_rule(character(graph_, others, spelling, Graph::kEndNode));
      ways.push_back(graph_.call(rule->second, node_of(to)));
    }
    ways.push_back(graph_.ranges(std::move(edges)));
    const NodeId made = graph_.any_of(std::move(ways));
    if (nodes[state] == kUnmade) {
      nodes[state] = made;
    } else if (made != Graph::kNowhere) {
      graph_.fill(nodes[state], {}, {made});
    }
  }
  return nodes[0];
}

}  // namespace oss::grammar
