// Byte-pair encoding of one piece. It merges the neighbours whose concatenation has the lowest rank, the leftmost first
// among equals, until no concatenation is a token.
#pragma once
#include <array>
#include <atomic>
#include <memory>
#include <vector>

#include "native/tokenizer/vocabulary.h"

namespace oss::tokenizer {

// Encodes pieces and caches the short ones. Words of several tokens repeat often, and so does the history of a
// conversation. A look-up in the cache is ten times faster than the merges.
class PieceEncoder {
 public:
  // The cache has no lock, so each thread has its own encoder. It takes 1 MB from the first piece of several tokens on.
  static PieceEncoder& of_this_thread();

  // The tokens of a piece that is not a single token; `hash` is the hash of the piece. They are valid until the next
  // call. Throws kCancelled soon after `*cancelled` becomes true; `cancelled` may be null.
  std::span<const uint32_t> encode(Bytes piece, uint64_t hash, const std::atomic<bool>* cancelled);

 private:
  // Two cache lines. A piece has one slot; the next piece with the same slot replaces it.
  struct alignas(128) Remembered {
    uint8_t size = 0, num_ids = 0;
    std::array<uint8_t, 62> bytes;
    std::array<uint32_t, 16> ids;
  };
  static constexpr size_t kRemembered = 8192;

  PieceEncoder();
  void merge_short(Bytes piece);
  void merge_long(Bytes piece, const std::atomic<bool>* cancelled);

  const Vocabulary& vocabulary_;
  std::unique_ptr<Remembered[]> memory_;
  std::vector<uint32_t> ids_;
};

// Throws kCancelled when `cancelled` is not null and its flag is true.
void check_cancelled(const std::atomic<bool>* cancelled);

}  // namespace oss::tokenizer
