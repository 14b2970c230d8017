// A compiled format of a text, and cursors in it: which tokens may come next, with every mask computed once for each state
// of the machine. A grammar may be used on several threads, by any number of cursors. Its memory is bounded (machine.h;
// kMaxMasks masks of 25 KB), and so is that of all grammars that are counted together.
//
// Most masks are made in less than a millisecond. A pattern with many ways open takes far longer, so a mask is made in
// slices, on whichever thread has time for one; what a slice has found, the next one looks up.
#pragma once
#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "native/grammar/machine.h"
#include "native/grammar/token_trie.h"

namespace oss::grammar {

class Cursor;

// What the grammars of one engine take together.
struct GrammarMemory {
  size_t most = 256u << 20;  // beyond it, each forgets what it can find again
  std::atomic<size_t> bytes{0};
  bool is_scarce() const { return bytes.load(std::memory_order_relaxed) > most; }
};

// How much of a mask is made at once; what it takes is taken off.
struct Slice {
  static constexpr uint64_t kUnlimited = ~uint64_t(0);
  uint64_t work = kUnlimited;  // in places: some 10 million take a second
  const std::atomic<bool>* cancelled = nullptr;
  bool waits = true;  // for another thread that uses the grammar
};

class Grammar {
 public:
  static constexpr size_t kMaxMasks = 64;

  Grammar(std::unique_ptr<Machine> machine, const SharedTrie& trie, std::shared_ptr<GrammarMemory> memory);
  ~Grammar();
  Grammar(const Grammar&) = delete;
  Grammar& operator=(const Grammar&) = delete;

  // Makes the first mask, which most completions need and which is the largest. Throws kUnsupported as cursors do.
  void prepare(const std::atomic<bool>* cancelled);
  // Memory that it takes, about. Waits for nobody.
  size_t bytes() const { return bytes_; }
  // Tokens that suffice for a text.
  uint32_t shortest() const { return shortest_; }

 private:
  friend class Cursor;
  // What a mask was made for: a state, and how far from the end it may lead. kAnywhere: every token that can follow.
  struct Asked {
    StateId state;
    int64_t distance;
    bool or_nearest;
    bool operator==(const Asked&) const = default;
  };
  struct AskedHash {
    size_t operator()(const Asked& asked) const {
      const uint64_t all = uint64_t(asked.state) << 32 ^ uint64_t(asked.distance) << 1 ^ uint64_t(asked.or_nearest);
      return all * 0x9E3779B97F4A7C15u;
    }
  };
  static constexpr int64_t kAnywhere = kNever;
  struct Mask {
    TokenMask tokens;
    uint32_t farthest = 0;  // the longest way to the end that any of these tokens leads to, in tokens
    uint64_t used = 0;
  };

  bool knows(const Asked& asked) const { return masks_.contains(asked); }
  const Mask& mask_of(const Asked& asked);
  Mask make_mask(StateId state);
  Mask make_near_mask(const Asked& asked);
  void make_room();
  void count_bytes();
  template <typename Visit>
  void for_each_token(const std::vector<TokenTrie::Node>& nodes, StateId state, Visit&& visit);

  const std::unique_ptr<Machine> machine_;
  const SharedTrie& trie_;
  const std::shared_ptr<GrammarMemory> memory_;
  uint32_t shortest_;
  std::mutex mutex_;  // guards the machine and what follows; held for a slice
  std::unordered_map<Asked, Mask, AskedHash> masks_;
  uint64_t clock_ = 0;
  std::atomic<size_t> bytes_{0};
  std::vector<StateId> path_;  // of a walk over the trie, by depth
  // Whose mask is being made, over several slices: until it is there, nobody else's begins, and no state is forgotten.
  std::atomic<const Cursor*> making_{nullptr};
  // guards what follows, so that a cursor may go while a slice of another one takes its time
  std::mutex cursors_mutex_;
  std::vector<Cursor*> cursors_;
};

// Where a text is in its grammar. It must not move: the grammar knows it. One thread at a time.
class Cursor {
 public:
  explicit Cursor(std::shared_ptr<Grammar> grammar) : grammar_(std::move(grammar)) {}
  ~Cursor();
  Cursor(const Cursor&) = delete;
  Cursor& operator=(const Cursor&) = delete;

  // The token comes next: one that was allowed. Waits for nobody; what it leads to is found with the next mask.
  void advance(int32_t token) { pending_.push_back(token); }
  // Adds the tokens that may come next such that `distance` more suffice to end the text; where there are none and the
  // text may not end here, those that come nearest to the end. Tells whether it may end here; none when it takes more than
  // the slice: then the same is asked again. Throws kInternal for a token that was not allowed, kCancelled as the slice
  // says, and kUnsupported as the machine does or when it takes more work than kMaxMaskWork or kMaxTextWork.
  std::optional<bool> add_tokens(int64_t distance, TokenMask& mask, Slice& slice);

 private:
  friend class Grammar;
  // Of the machine, on behalf of one mask and of this text: some 0.4 s for a mask; for a text 0.8 s in all, and some 10 ms
  // more with each token. One thread makes the slow masks of everybody.
  static constexpr uint64_t kMaxMaskWork = 4'000'000, kMaxTextWork = 8'000'000, kWorkOfToken = 75'000;

  void catch_up();
  std::optional<bool> find_tokens(int64_t distance, TokenMask& mask, bool may_make);
  void make_no_more();
  uint64_t most_work() const;
  void count_work();

  const std::shared_ptr<Grammar> grammar_;
  std::optional<StateId> state_;  // none: at the start, and not known to the grammar
  std::vector<int32_t> pending_;
  uint64_t mask_work_ = 0, text_work_ = 0;
  uint64_t tokens_ = 0;
};

}  // namespace oss::grammar
