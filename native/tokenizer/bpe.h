// Byte-pair encoding of one piece: neighbours whose concatenation has the lowest rank are merged, the leftmost first
// among equals, until no concatenation is a token.
#pragma once
#include <array>
#include <atomic>
#include <memory>
#include <vector>

#include "native/tokenizer/vocabulary.h"

namespace oss::tokenizer {

// Encodes pieces and remembers the short ones: words that are no token by themselves come again and again, so does the
// history of a conversation, and a look at the memory is ten times faster than the merges.
class PieceEncoder {
 public:
  // A memory has no lock, so each thread has its own: 1 MB, from its first piece on that is no token.
  static PieceEncoder& of_this_thread();

  // The tokens of a piece that is no token itself, and whose hash this is; they are valid until the next call.
  // Throws kCancelled soon after the flag, if there is one, becomes true.
  std::span<const uint32_t> encode(Bytes piece, uint64_t hash, const std::atomic<bool>* cancelled);

 private:
  // Two cache lines. A piece has one place, where the next one with the same place replaces it.
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

// Throws kCancelled when there is a flag and it is true.
void check_cancelled(const std::atomic<bool>* cancelled);

}  // namespace oss::tokenizer
