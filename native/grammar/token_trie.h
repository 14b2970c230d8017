// The ordinary tokens of a vocabulary by their bytes: a trie in preorder, so that a walk which meets a byte that cannot
// stand there leaves out all tokens that begin so.
//
// Most tokens are plain: whole characters that stand for themselves in a JSON string. Where nothing but the end of such a
// string is open, all of them are allowed, and a second, small trie has the others.
#pragma once
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

namespace oss::grammar {

// One bit for each token id, 32 to a word.
using TokenMask = std::vector<uint32_t>;

inline void allow(TokenMask& mask, int32_t token) { mask[size_t(token) / 32] |= 1u << (token % 32); }
inline void forbid(TokenMask& mask, int32_t token) { mask[size_t(token) / 32] &= ~(1u << (token % 32)); }
inline bool allows(const TokenMask& mask, int32_t token) { return (mask[size_t(token) / 32] >> (token % 32) & 1) != 0; }

class TokenTrie {
 public:
  struct Node {
    uint32_t end;   // index behind the last node below this one
    int32_t token;  // that ends here; -1: none
    uint8_t byte;
    uint8_t depth;  // of the byte: 0 for the first
  };

  explicit TokenTrie(int vocab);  // of the first `vocab` ids of o200k_harmony without the special ones

  int vocab() const { return vocab_; }
  const std::vector<Node>& all() const { return all_; }
  const std::vector<Node>& not_plain() const { return not_plain_; }
  // Tokens of this many characters at most, all plain.
  const TokenMask& plain(uint32_t characters) const;
  // Every ordinary token.
  const TokenMask& ordinary() const { return ordinary_; }
  // Bytes of the longest token: a walk is never deeper.
  int longest() const { return longest_; }
  size_t mask_words() const { return size_t(vocab_ + 31) / 32; }
  TokenMask empty() const { return TokenMask(mask_words()); }

 private:
  int vocab_, longest_ = 0;
  std::vector<Node> all_, not_plain_;
  std::vector<TokenMask> plain_;  // [characters - 1], up to the longest
  TokenMask ordinary_;
};

// The trie of a vocabulary, kept for the process. Building takes some 100 ms, on a thread of its own that begins when the
// vocabulary is first asked for; who looks into the trie waits for it, and builds it where there is no such thread.
class SharedTrie {
 public:
  // Throws kUnsupported when not every single byte is a token: then there are texts that cannot be written.
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
