// A compiled format of a text, and cursors that follow texts in it. It computes the mask of the tokens that may come
// next once for each state of the machine. Any number of threads and cursors may share a grammar. Its memory is bounded
// (machine.h; kMaxMasks masks of 25 KB), and so is the memory of all grammars that are counted together.
//
// Most masks take less than a millisecond. A pattern with many open ways takes far longer. So a mask is made in slices,
// by any thread with time for one; the next slice reuses the results of the one before.
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

// The memory of all grammars of one engine.
struct GrammarMemory {
  size_t most = 256u << 20;  // beyond it, each grammar drops what it can recompute
  std::atomic<size_t> bytes{0};
  bool is_scarce() const { return bytes.load(std::memory_order_relaxed) > most; }
};

// The work allowed for a part of a mask; the work done is subtracted.
struct Slice {
  static constexpr uint64_t kUnlimited = ~uint64_t(0);
  uint64_t work = kUnlimited;  // in places: about 10 million a second
  const std::atomic<bool>* cancelled = nullptr;
  bool waits = true;  // waits for another thread that uses the grammar
};

class Grammar {
 public:
  static constexpr size_t kMaxMasks = 64;

  Grammar(std::unique_ptr<Machine> machine, const SharedTrie& trie, std::shared_ptr<GrammarMemory> memory);
  ~Grammar();
  Grammar(const Grammar&) = delete;
  Grammar& operator=(const Grammar&) = delete;

  // Makes the first mask, which is the largest and which most completions need. Throws kUnsupported as cursors do.
  void prepare(const std::atomic<bool>* cancelled);
  // The approximate memory of this grammar. Does not wait.
  size_t bytes() const { return bytes_; }
  // The number of tokens that suffices for a whole text.
  uint32_t shortest() const { return shortest_; }

 private:
  friend class Cursor;
  // The key of a mask: a state, and the largest allowed distance to the end. kAnywhere: every token that can follow.
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
    uint32_t farthest = 0;  // the largest distance to the end after any of these tokens, in tokens
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
  std::mutex mutex_;  // guards the machine and the members below; held for a slice
  std::unordered_map<Asked, Mask, AskedHash> masks_;
  uint64_t clock_ = 0;
  std::atomic<size_t> bytes_{0};
  std::vector<StateId> path_;  // the states of a walk over the trie, by depth
  // The cursor whose mask is being made, over several slices. Until it is finished, no other mask begins and no state
  // is dropped.
  std::atomic<const Cursor*> making_{nullptr};
  // guards the member below, so that a cursor can be destroyed during a long slice of another
  std::mutex cursors_mutex_;
  std::vector<Cursor*> cursors_;
};

// The position of a text in its grammar. It must not move, because the grammar keeps its address. One thread at a time.
class Cursor {
 public:
  explicit Cursor(std::shared_ptr<Grammar> grammar) : grammar_(std::move(grammar)) {}
  ~Cursor();
  Cursor(const Cursor&) = delete;
  Cursor& operator=(const Cursor&) = delete;

  // Appends a token that the mask allowed. Does not wait; the next mask follows it in the grammar.
  void advance(int32_t token) { pending_.push_back(token); }
  // Adds to `mask` the tokens that may come next and after which `distance` tokens can end the text. If there are none
  // and the text may not end here, adds the tokens that come nearest to an end. Adds to `anywhere` all that may come
  // next, at any distance.
  //
  // Returns whether the text may end here. Returns none when it takes more than the slice; the caller then repeats the
  // call. Throws kInternal for a token that was not allowed, and kCancelled when the slice is cancelled. Throws
  // kUnsupported as the machine does, or past kMaxMaskWork or kMaxTextWork.
  std::optional<bool> add_tokens(int64_t distance, TokenMask& mask, TokenMask& anywhere, Slice& slice);

 private:
  friend class Grammar;
  // Limits on the machine's work for one mask and for this text. A mask gets about 0.4 s. A text gets 0.8 s in all, and
  // about 10 ms more with each token. They are low because one thread makes the slow masks of all requests.
  static constexpr uint64_t kMaxMaskWork = 4'000'000, kMaxTextWork = 8'000'000, kWorkOfToken = 75'000;

  void catch_up();
  std::optional<bool> find_tokens(int64_t distance, TokenMask& mask, TokenMask& anywhere, bool may_make);
  void make_no_more();
  uint64_t most_work() const;
  void count_work();

  const std::shared_ptr<Grammar> grammar_;
  std::optional<StateId> state_;  // none: at the start, and not registered in the grammar
  std::vector<int32_t> pending_;
  uint64_t mask_work_ = 0, text_work_ = 0;
  uint64_t tokens_ = 0;
};

}  // namespace oss::grammar
