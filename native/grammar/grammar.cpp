#include "native/grammar/grammar.h"

#include <algorithm>

#include "native/base/error.h"
#include "native/base/str.h"
#include "native/tokenizer/vocabulary.h"

namespace oss::grammar {
namespace {

void add(const TokenMask& from, TokenMask& to) {
  for (size_t word = 0; word < to.size(); ++word) to[word] |= from[word];
}

}  // namespace

Grammar::Grammar(std::unique_ptr<Machine> machine, const SharedTrie& trie, std::shared_ptr<GrammarMemory> memory)
    : machine_(std::move(machine)), trie_(trie), memory_(std::move(memory)) {
  shortest_ = machine_->distance(machine_->start());
  count_bytes();
}

Grammar::~Grammar() { memory_->bytes -= bytes_; }

void Grammar::count_bytes() {
  const size_t bytes = machine_->bytes() + masks_.size() * size_t(trie_.vocab()) / 8;
  memory_->bytes += bytes - bytes_;  // modulo 2^64, because it may have shrunk
  bytes_ = bytes;
}

// Calls visit(token, state after it) for every token whose bytes can come next.
template <typename Visit>
void Grammar::for_each_token(const std::vector<TokenTrie::Node>& nodes, StateId state, Visit&& visit) {
  constexpr uint32_t kAtOnce = 4096;
  path_.resize(size_t(trie_.get().longest()) + 1);
  path_[0] = state;
  uint32_t visited = 0;
  for (uint32_t i = 0; i < nodes.size();) {
    if (++visited % kAtOnce == 0) machine_->look_up(kAtOnce);
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

// Frees memory when the machine is full, or when all grammars take too much. A single mask may exceed the bound.
void Grammar::make_room() {
  constexpr size_t kFew = 1u << 20;  // recomputing smaller ones often would cost more than it saves
  const bool is_large = bytes_ > machine_->graph_bytes() + kFew;
  if (!machine_->is_full() && !(is_large && memory_->is_scarce())) return;
  masks_.clear();
  std::lock_guard lock(cursors_mutex_);
  std::vector<StateId*> in_use;
  for (Cursor* cursor : cursors_) in_use.push_back(&*cursor->state_);
  machine_->collect(in_use);
  count_bytes();
}

const Grammar::Mask& Grammar::mask_of(const Asked& asked) {
  auto known = masks_.find(asked);
  if (known == masks_.end()) {
    Mask made = asked.distance == kAnywhere ? make_mask(asked.state) : make_near_mask(asked);
    if (masks_.size() >= kMaxMasks) {
      masks_.erase(std::min_element(masks_.begin(), masks_.end(),
                                    [](const auto& a, const auto& b) { return a.second.used < b.second.used; }));
    }
    known = masks_.emplace(asked, std::move(made)).first;
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
    mask.farthest = machine_->distance(state);  // more characters never increase the distance to the end
    for_each_token(trie_.get().not_plain(), state, visit);
  } else {
    for_each_token(trie_.get().all(), state, visit);
  }
  return mask;
}

// Tokens after which the end is at most `distance` away, or the nearest ones.
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
  // In a string of unbounded length, no plain character leads nearer to its end.
  const bool leaves_plain_out = plain_fit || characters == kUnlimited;
  for_each_token(leaves_plain_out ? trie_.get().not_plain() : trie_.get().all(), asked.state, visit);
  if (!any && asked.or_nearest) {
    for (const int32_t token : nearest) allow(mask.tokens, token);
  }
  return mask;
}

void Grammar::prepare(const std::atomic<bool>* cancelled) {
  TokenMask mask = trie_.get().empty(), anywhere = mask;
  // Its only cursor ends with this call, so the pointer need not share ownership.
  Cursor first(std::shared_ptr<Grammar>(std::shared_ptr<Grammar>(), this));
  Slice all{.cancelled = cancelled};
  first.add_tokens(kAnywhere, mask, anywhere, all);
}

Cursor::~Cursor() {
  make_no_more();
  if (!state_) return;
  std::lock_guard lock(grammar_->cursors_mutex_);
  std::erase(grammar_->cursors_, this);
}

void Cursor::make_no_more() {
  const Cursor* self = this;
  grammar_->making_.compare_exchange_strong(self, nullptr);
}

// Follows the pending tokens. The state changes only when all bytes of a token are known.
void Cursor::catch_up() {
  Machine& machine = *grammar_->machine_;
  if (!state_) {
    const StateId start = machine.start();
    std::lock_guard lock(grammar_->cursors_mutex_);
    grammar_->cursors_.push_back(this);
    state_ = start;
  }
  while (!pending_.empty()) {
    StateId state = *state_;
    for (const uint8_t byte : tokenizer::Vocabulary::get().bytes(uint32_t(pending_.front()))) {
      state = machine.step(state, byte);
      if (state == Machine::kDead) {
        throw Error(Code::kInternal, str("token ", pending_.front(), " is outside of the constraint"));
      }
    }
    state_ = state;
    pending_.erase(pending_.begin());
    ++tokens_;
    mask_work_ = 0;
  }
}

uint64_t Cursor::most_work() const {
  const uint64_t of_text = kMaxTextWork + (tokens_ + pending_.size()) * kWorkOfToken;
  return std::min(kMaxMaskWork - std::min(kMaxMaskWork, mask_work_), of_text - std::min(of_text, text_work_));
}

void Cursor::count_work() {
  mask_work_ += grammar_->machine_->work();
  text_work_ += grammar_->machine_->work();
  const bool of_mask = mask_work_ >= kMaxMaskWork;
  if (!of_mask && text_work_ < kMaxTextWork + (tokens_ + pending_.size()) * kWorkOfToken) return;
  throw Error(Code::kUnsupported,
              str("the constraint leaves too many ways open at once: ", of_mask ? "" : "token after token, ",
                  "telling which may follow takes too long; write the pattern or the choices less "
                  "ambiguously"),
              "constraint");
}

// Looks up the mask of the state. Makes it if it is missing, unless another cursor's mask is being made.
std::optional<bool> Cursor::find_tokens(int64_t distance, TokenMask& mask, TokenMask& anywhere, bool may_make) {
  Grammar& grammar = *grammar_;
  const bool may_end = grammar.machine_->accepts(*state_);
  const Grammar::Asked all{*state_, Grammar::kAnywhere, false}, near{*state_, distance, !may_end};
  if (!may_make && !grammar.knows(all)) return std::nullopt;
  const Grammar::Mask* found = &grammar.mask_of(all);
  add(found->tokens, anywhere);
  if (found->farthest > distance) {
    if (!may_make && !grammar.knows(near)) return std::nullopt;
    found = &grammar.mask_of(near);
  }
  add(found->tokens, mask);
  return may_end;
}

std::optional<bool> Cursor::add_tokens(int64_t distance, TokenMask& mask, TokenMask& anywhere, Slice& slice) {
  Grammar& grammar = *grammar_;
  std::unique_lock lock(grammar.mutex_, std::defer_lock);
  if (slice.waits) {
    lock.lock();
  } else if (!lock.try_lock()) {
    return std::nullopt;
  }
  if (grammar.making_ == nullptr) grammar.make_room();
  const Cursor* nobody = nullptr;
  const bool may_make = grammar.making_ == this || grammar.making_.compare_exchange_strong(nobody, this);
  std::optional<bool> may_end;
  try {
    grammar.machine_->begin_walk(most_work(), slice.work, slice.cancelled);
    try {
      catch_up();
      may_end = find_tokens(distance, mask, anywhere, may_make);
    } catch (const Machine::WalkEnds&) {
    }
    slice.work -= std::min(slice.work, grammar.machine_->taken());
    grammar.count_bytes();
    count_work();
  } catch (...) {
    make_no_more();
    throw;
  }
  if (may_end) make_no_more();
  return may_end;
}

}  // namespace oss::grammar
