// A compiled format of a text, and cursors in it: which tokens may come next, with every mask computed once for each state
// of the machine. A grammar may be used on several threads, by any number of cursors; its memory is bounded (machine.h;
// kMaxMasks masks of 25 KB).
#pragma once
#include <atomic>
#include <memory>
#include <mutex>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "native/grammar/machine.h"
#include "native/grammar/token_trie.h"

namespace oss::grammar {

class Cursor;

class Grammar {
 public:
  static constexpr size_t kMaxMasks = 64;

  Grammar(std::unique_ptr<Machine> machine, const SharedTrie& trie);

  // Makes the first mask, which most completions need and which is the largest. Throws kUnsupported as the machine does.
  void prepare();
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

  StateId walk(StateId from, std::string_view bytes);
  const Mask& mask_of(const Asked& asked);
  Mask make_mask(StateId state);
  Mask make_near_mask(const Asked& asked);
  void make_room();
  template <typename Visit>
  void for_each_token(const std::vector<TokenTrie::Node>& nodes, StateId state, Visit&& visit);

  const std::unique_ptr<Machine> machine_;
  const SharedTrie& trie_;
  uint32_t shortest_;
  std::mutex mutex_;  // guards the machine and what follows
  std::unordered_map<Asked, Mask, AskedHash> masks_;
  uint64_t clock_ = 0;
  std::atomic<size_t> bytes_{0};
  std::vector<StateId> path_;  // of a walk over the trie, by depth
  std::vector<Cursor*> cursors_;
};

// Where a text is in its grammar. It must not move: the grammar knows it.
class Cursor {
 public:
  explicit Cursor(std::shared_ptr<Grammar> grammar);
  ~Cursor();
  Cursor(const Cursor&) = delete;
  Cursor& operator=(const Cursor&) = delete;

  // What the token stands for comes next; false, and nowhere to go from here, when it cannot.
  bool advance(int32_t token);
  bool accepts() const;
  uint32_t distance() const;
  // Adds the tokens that may come next such that `distance` more suffice to end the text; where there are none
  // and or_nearest, those that come nearest to the end. Throws kUnsupported as the machine does.
  void add_tokens(int64_t distance, bool or_nearest, TokenMask& mask) const;

 private:
  friend class Grammar;
  // Of the machine, on behalf of this text: less than a second in all, and some 10 ms more with each token. The thread that
  // makes masks makes those of everybody.
  static constexpr uint64_t kMaxWork = 8'000'000, kWorkOfToken = 75'000;

  const std::shared_ptr<Grammar> grammar_;
  StateId state_;
  mutable uint64_t work_ = 0;
  uint64_t tokens_ = 0;
};

}  // namespace oss::grammar
