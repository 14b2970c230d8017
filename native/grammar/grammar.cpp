#include "native/grammar/grammar.h"

#include <algorithm>

#include "native/base/error.h"
#include "native/tokenizer/vocabulary.h"

namespace oss::grammar {
namespace {

void add(const TokenMask& from, TokenMask& to) {
  for (size_t word = 0; word < to.size(); ++word) to[word] |= from[word];
}

}  // namespace

Grammar::Grammar(std::unique_ptr<Machine> machine, const SharedTrie& trie)
    : machine_(std::move(machine)), trie_(trie) {
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
  path_.resize(size_t(trie_.get().longest()) + 1);
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

const Grammar::Mask& Grammar::mask_of(const Asked& asked) {
  auto known = masks_.find(asked);
  if (known == masks_.end()) {
    if (masks_.size() >= kMaxMasks) {
      masks_.erase(std::min_element(masks_.begin(), masks_.end(),
                                    [](const auto& a, const auto& b) { return a.second.used < b.second.used; }));
    }
    known = masks_.emplace(asked, asked.distance == kAnywhere ? make_mask(asked.state) : make_near_mask(asked)).first;
    bytes_ = machine_->bytes() + masks_.size() * trie_.get().mask_words() * sizeof(uint32_t);
  }
  known->second.used = ++clock_;
  return known->second;
}

Grammar::Mask Grammar::make_mask(StateId state) {
  Mask mask = {.tokens = trie_.get().empty()};
  const auto visit = [&](int32_t token, StateId after) {
    allow(mask.tokens, token);
    mask.farthest = std::max(mask.farthest, machine_->distance(after));
  };
  if (const uint32_t characters = machine_->plain(state); characters > 0) {
    add(trie_.get().plain(characters), mask.tokens);
    mask.farthest = machine_->distance(state);  // more characters never lead away from the end
    for_each_token(trie_.get().not_plain(), state, visit);
  } else {
    for_each_token(trie_.get().all(), state, visit);
  }
  return mask;
}

// Tokens after which the end is at most `distance` away, or the nearest.
Grammar::Mask Grammar::make_near_mask(const Asked& asked) {
  Mask mask = {.tokens = trie_.get().empty()};
  uint32_t least = kNever;
  std::vector<int32_t> nearest;
  bool any = false;
  const auto visit = [&](int32_t token, StateId after) {
    const uint32_t left = machine_->distance(after);
    if (left <= asked.distance) {
      allow(mask.tokens, token);
      any = true;
    }
    if (left > least) return;
    if (left < least) nearest.clear();
    least = left;
    nearest.push_back(token);
  };
  const uint32_t characters = machine_->plain(asked.state);
  const bool plain_fit = characters > 0 && machine_->distance(asked.state) <= asked.distance;
  if (plain_fit) {
    add(trie_.get().plain(characters), mask.tokens);
    any = true;
  }
  // Where a string may go on forever, no plain character leads nearer to its end.
  const bool leaves_plain_out = plain_fit || characters == kUnlimited;
  for_each_token(leaves_plain_out ? trie_.get().not_plain() : trie_.get().all(), asked.state, visit);
  if (!any && asked.or_nearest) {
    for (const int32_t token : nearest) allow(mask.tokens, token);
  }
  return mask;
}

void Grammar::prepare() {
  std::lock_guard lock(mutex_);
  make_room();
  machine_->begin_walk();
  mask_of({machine_->start(), kAnywhere, false});
}

Cursor::Cursor(std::shared_ptr<Grammar> grammar) : grammar_(std::move(grammar)) {
  std::lock_guard lock(grammar_->mutex_);
  grammar_->make_room();
  grammar_->machine_->begin_walk();
  state_ = grammar_->machine_->start();
  grammar_->cursors_.push_back(this);
}

Cursor::~Cursor() {
  std::lock_guard lock(grammar_->mutex_);
  std::erase(grammar_->cursors_, this);
}

bool Cursor::advance(int32_t token) {
  std::lock_guard lock(grammar_->mutex_);
  grammar_->make_room();
  grammar_->machine_->begin_walk();
  const tokenizer::Bytes bytes = tokenizer::Vocabulary::get().bytes(uint32_t(token));
  state_ = grammar_->walk(state_, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  ++tokens_;
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
  grammar_->machine_->begin_walk();
  const Grammar::Mask& all = grammar_->mask_of({state_, Grammar::kAnywhere, false});
  const bool fits = all.farthest <= distance;
  add(fits ? all.tokens : grammar_->mask_of({state_, distance, or_nearest}).tokens, mask);
  work_ += grammar_->machine_->work();
  if (work_ > kMaxWork + tokens_ * kWorkOfToken) {
    throw Error(Code::kUnsupported, "the constraint leaves too many ways open at once: token after token, telling which may "
                                    "follow takes too long; write the pattern or the choices less ambiguously");
  }
}

}  // namespace oss::grammar
