// Byte-pair encoding of one piece: neighbours whose concatenation has the lowest rank are merged, the leftmost first
// among equals, until no concatenation is a token.
#pragma once
#include <utility>
#include <vector>

#include "native/tokenizer/vocabulary.h"

namespace oss::tokenizer {

// The starts of the tokens of a long piece, then its size: a linked list and a heap, n·log n.
std::vector<uint32_t> merge_long(const Vocabulary& vocabulary, Bytes piece);

// Calls emit(id) for each token of a piece that is not empty.
template <typename Emit>
void encode_piece(const Vocabulary& vocabulary, Bytes piece, const Emit& emit) {
  // Up to here the quadratic merge in two small arrays is faster than the heap.
  constexpr size_t kShort = 64;
  const uint8_t* text = piece.data();
  const size_t size = piece.size();

  const uint32_t whole = vocabulary.find(text, size);
  if (whole != Vocabulary::kNone) return emit(whole);
  if (size > kShort) {
    const std::vector<uint32_t> starts = merge_long(vocabulary, piece);
    for (size_t i = 0; i + 1 < starts.size(); ++i) emit(vocabulary.find(text + starts[i], starts[i + 1] - starts[i]));
    return;
  }

  uint32_t start[kShort + 1];  // of each part; the last is the end of the piece
  uint32_t rank[kShort];       // of each part joined with the next; of the last part kNone
  uint32_t parts = uint32_t(size);
  for (uint32_t i = 0; i < parts; ++i) {
    start[i] = i;
    rank[i] = i + 1 < parts ? vocabulary.find_pair(text[i], text[i + 1]) : Vocabulary::kNone;
  }
  start[parts] = parts;
  const auto joined_rank = [&](uint32_t i) {
    return i + 2 <= parts ? vocabulary.find(text + start[i], start[i + 2] - start[i]) : Vocabulary::kNone;
  };
  for (;;) {
    uint32_t best = 0;
    for (uint32_t i = 1; i < parts; ++i) {
      if (rank[i] < rank[best]) best = i;
    }
    if (rank[best] == Vocabulary::kNone) break;
    --parts;
    for (uint32_t i = best + 1; i < parts; ++i) {
      start[i] = start[i + 1];
      rank[i] = rank[i + 1];
    }
    start[parts] = uint32_t(size);
    rank[best] = joined_rank(best);
    if (best > 0) rank[best - 1] = joined_rank(best - 1);
  }
  for (uint32_t i = 0; i < parts; ++i) emit(vocabulary.find(text + start[i], start[i + 1] - start[i]));
}

}  // namespace oss::tokenizer
