#include "native/grammar/grammar.h"

#include <algorithm>

#include "native/tokenizer/vocabulary.h"

namespace oss::grammar {
namespace {

void add(const TokenMask& from, TokenMask& to) {
  for (size_t word = 0; word < to.size(); ++word) to[word] |= from[word];
}

}  // namespace

Grammar::Grammar(std::unique_ptr<Machine> machine, std::shared_ptr<const TokenTrie> trie)
    : machine_(std::move(machine)), trie_(std::move(trie)), path_(size_t(trie_->longest()) + 1) {
  shortest_ = machine_->distance(machine_->start());
}

StateId Grammar::walk(StateId from, std::string_view bytes) {
  for (const char byte : bytes) {
    from = machine_->step(from, uint8_t(byte));
    if (from == Machine::kDead) break;
  }
  return from;
}

// Calls visit(token, state after it) for every token whose bytes can come next.
template <typename Visit>
void Grammar::for_each_token(const std::vector<TokenTrie::Node>& nodes, StateId state, Visit&& visit) {
  path_[0] = state;
  for (uint32_t i = 0; i < nodes.size();) {
    const TokenTrie::Node& node = nodes[i];
    const StateId next = machine_->step(path_[node.depth], node.byte);
    if (next == Machine::kDead) {
      i = node.end;
      continue;
    }
    path_[size_t(node.depth) + 1] = next;
    if (node.token >= 0) visit(node.token, next);
    ++i;
  }
}

// When the machine is full. A single walk may exceed its bound, by the bytes of the trie at most.
void Grammar::make_room() {
  if (!machine_->is_full()) return;
  masks_.clear();
  std::vector<StateId*> in_use;
  for (Cursor* cursor : cursors_) in_use.push_back(&cursor->state_);
  machine_->collect(in_use);
}

const Grammar::Mask& Grammar::mask_of(StateId state) {
  const auto known = masks_.find(state);
  if (known != masks_.end()) {
    known->second.used = ++clock_;
    return known->second;
  }
  Mask mask = {trie_->empty(), 0, ++clock_};
  const auto visit = [&](int32_t token, StateId after) {
    allow(mask.tokens, token);
    mask.farthest = std::max(mask.farthest, machine_->distance(after));
  };
  if (const uint32_t characters = machine_->plain(state); characters > 0) {
    add(trie_->plain(characters), mask.tokens);
    mask.farthest = machine_->distance(state);  // more characters never lead away from the end
    for_each_token(trie_->not_plain(), state, visit);
  } else {
    for_each_token(trie_->all(), state, visit);
  }
  if (masks_.size() >= kMaxMasks) {
    masks_.erase(std::min_element(masks_.begin(), masks_.end(),
                                  [](const auto& a, const auto& b) { return a.second.used < b.second.used; }));
  }
  return masks_.emplace(state, std::move(mask)).first->second;
}

// As Cursor::add_tokens, token by token.
void Grammar::add_near_tokens(StateId state, int64_t distance, bool or_nearest, TokenMask& mask) {
  uint32_t least = kNever;
  std::vector<int32_t> nearest;
  bool any = false;
  for_each_token(trie_->all(), state, [&](int32_t token, StateId after) {
    const uint32_t left = machine_->distance(after);
    if (left <= distance) {
      allow(mask, token);
      any = true;
    }
    if (left > least) return;
    if (left < least) nearest.clear();
    least = left;
    nearest.push_back(token);
  });
  if (any || !or_nearest) return;
  for (const int32_t token : nearest) allow(mask, token);
}

Cursor::Cursor(std::shared_ptr<Grammar> grammar) : grammar_(std::move(grammar)) {
  std::lock_guard lock(grammar_->mutex_);
  state_ = grammar_->machine_->start();
  grammar_->cursors_.push_back(this);
}

Cursor::~Cursor() {
  std::lock_guard lock(grammar_->mutex_);
  std::erase(grammar_->cursors_, this);
}

bool Cursor::advance(int32_t token) {
  std::lock_guard lock(grammar_->mutex_);
  const tokenizer::Bytes bytes = tokenizer::Vocabulary::get().bytes(uint32_t(token));
  state_ = grammar_->walk(state_, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  return state_ != Machine::kDead;
}

bool Cursor::accepts() const {
  std::lock_guard lock(grammar_->mutex_);
  return grammar_->machine_->accepts(state_);
}

uint32_t Cursor::distance() const {
  std::lock_guard lock(grammar_->mutex_);
  return grammar_->machine_->distance(state_);
}

void Cursor::add_tokens(int64_t distance, bool or_nearest, TokenMask& mask) const {
  std::lock_guard lock(grammar_->mutex_);
  grammar_->make_room();
  const Grammar::Mask& all = grammar_->mask_of(state_);
  if (all.farthest <= distance) {
    add(all.tokens, mask);
  } else {
    grammar_->add_near_tokens(state_, distance, or_nearest, mask);
  }
}

}  // namespace oss::grammar
