// The ordinary tokens of a vocabulary by their bytes: a trie in preorder. When a byte is not allowed, a walk skips all
// tokens that begin that way.
//
// Most tokens are plain: whole characters that need no escape in a JSON string. Inside such a string, where only its
// end is also possible, all plain tokens are allowed. A second, small trie has the other tokens.
#pragma once
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

namespace oss::grammar {

// One bit for each token id, 32 in a word.
using TokenMask = std::vector<uint32_t>;

inline void allow(TokenMask& mask, int32_t token) { mask[size_t(token) / 32] |= 1u << (token % 32); }
inline void forbid(TokenMask& mask, int32_t token) { mask[size_t(token) / 32] &= ~(1u << (token % 32)); }
inline bool allows(const TokenMask& mask, int32_t token) { return (mask[size_t(token) / 32] >> (token % 32) & 1) != 0; }

class TokenTrie {
 public:
  struct Node {
    uint32_t end;   // index after the last node below this one
    int32_t token;  // the token that ends here; -1: none
    uint8_t byte;
    uint8_t depth;  // of the byte: 0 for the first
  };

  explicit TokenTrie(int vocab);  // for the first `vocab` ids of o200k_harmony, without special tokens

  int vocab() const { return vocab_; }
  const std::vector<Node>& all() const { return all_; }
  const std::vector<Node>& not_plain() const { return not_plain_; }
  // Plain tokens of at most this many characters.
  const TokenMask& plain(uint32_t characters) const;
  // Every ordinary token.
  const TokenMask& ordinary() const { return ordinary_; }
  // Bytes of the longest token, which bound the depth of a walk.
  int longest() const { return longest_; }
  size_t mask_words() const { return size_t(vocab_ + 31) / 32; }
  TokenMask empty() const { return TokenMask(mask_words()); }

 private:
  int vocab_, longest_ = 0;
  std::vector<Node> all_, not_plain_;
  std::vector<TokenMask> plain_;  // [characters - 1], up to the longest
  TokenMask ordinary_;
};

// The trie of a vocabulary, kept for the process. Building takes about 100 ms, on a separate thread that starts with
// the first use of the vocabulary. get() waits for it. If the thread could not start, get() builds the trie.
class SharedTrie {
 public:
  // Throws kUnsupported when some single byte is not a token, because some texts could then not be written.
  static const SharedTrie& of_vocabulary(int vocab);

  int vocab() const { return vocab_; }
  const TokenTrie& get() const;

 private:
  explicit SharedTrie(int vocab);
  int vocab_;
  mutable std::mutex building_;
  mutable std::unique_ptr<const TokenTrie> trie_;
  mutable std::atomic<const TokenTrie*> built_{nullptr};
};

}  // namespace oss::grammar
