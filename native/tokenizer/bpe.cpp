#include "native/tokenizer/bpe.h"

#include <algorithm>
#include <functional>

#include "native/base/error.h"

namespace oss::tokenizer {
namespace {

// A possible merge as rank << 32 | start. The smallest value is the leftmost merge of the lowest rank.
using Candidate = uint64_t;

// Sorts candidates in order of their start by rank, with two counting passes over the 18 bits of a rank. Equal ranks
// stay in order of their start.
void sort_by_rank(std::vector<Candidate>& candidates) {
  constexpr int kDigitBits = 9, kDigits = 1 << kDigitBits;
  std::vector<Candidate> sorted(candidates.size());
  for (int shift = 32; shift < 32 + 2 * kDigitBits; shift += kDigitBits) {
    uint32_t place[kDigits + 1] = {};
    for (const Candidate c : candidates) ++place[(c >> shift) % kDigits + 1];
    for (int digit = 0; digit < kDigits; ++digit) place[digit + 1] += place[digit];
    for (const Candidate c : candidates) sorted[place[(c >> shift) % kDigits]++] = c;
    candidates.swap(sorted);
  }
}

// Up to this size, the quadratic merge in two small arrays is faster than the heap.
constexpr size_t kShort = 64;

}  // namespace

void check_cancelled(const std::atomic<bool>* cancelled) {
  if (cancelled != nullptr && cancelled->load(std::memory_order_relaxed)) {
    throw Error(Code::kCancelled, "the encoding was cancelled");
  }
}

PieceEncoder& PieceEncoder::of_this_thread() {
  thread_local PieceEncoder encoder;
  return encoder;
}

PieceEncoder::PieceEncoder() : vocabulary_(Vocabulary::get()), memory_(new Remembered[kRemembered]) {}

std::span<const uint32_t> PieceEncoder::encode(Bytes piece, uint64_t hash, const std::atomic<bool>* cancelled) {
  Remembered& place = memory_[hash % kRemembered];
  if (place.size == piece.size() && Vocabulary::equal(place.bytes.data(), piece.data(), piece.size())) {
    return {place.ids.data(), place.num_ids};
  }
  ids_.clear();
  if (piece.size() > kShort) {
    merge_long(piece, cancelled);
    return ids_;
  }
  merge_short(piece);
  if (piece.size() <= place.bytes.size() && ids_.size() <= place.ids.size()) {
    place.size = uint8_t(piece.size());
    place.num_ids = uint8_t(ids_.size());
    std::copy(piece.begin(), piece.end(), place.bytes.begin());
    std::copy(ids_.begin(), ids_.end(), place.ids.begin());
  }
  return ids_;
}

void PieceEncoder::merge_short(Bytes piece) {
  const uint8_t* text = piece.data();
  const size_t size = piece.size();
  uint32_t start[kShort + 1];  // of each part, then the end of the piece
  uint32_t rank[kShort];       // of each part joined with the next; kNone for the last part
  uint32_t parts = uint32_t(size);
  for (uint32_t i = 0; i < parts; ++i) {
    start[i] = i;
    rank[i] = i + 1 < parts ? vocabulary_.find_pair(text[i], text[i + 1]) : Vocabulary::kNone;
  }
  start[parts] = parts;
  const auto joined_rank = [&](uint32_t i) {
    return i + 2 <= parts ? vocabulary_.find(text + start[i], start[i + 2] - start[i]) : Vocabulary::kNone;
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
  for (uint32_t i = 0; i < parts; ++i) ids_.push_back(vocabulary_.find(text + start[i], start[i + 1] - start[i]));
}

// Merges with a linked list and a heap, in n·log n.
void PieceEncoder::merge_long(Bytes piece, const std::atomic<bool>* cancelled) {
  constexpr uint32_t kNone = Vocabulary::kNone;
  const uint8_t* text = piece.data();
  const uint32_t size = uint32_t(piece.size());

  // A part is identified by its start. rank[start] is the rank of the part joined with the next, or kNone for a part
  // that was merged away. A candidate whose rank differs from its part's rank is outdated and skipped.
  std::vector<uint32_t> next(size), previous(size), rank(size);
  std::vector<Candidate> pairs;  // merges of two bytes, best first: half of all candidates, without the heap
  std::vector<Candidate> heap;   // candidates that merges have made
  pairs.reserve(size);
  for (uint32_t i = 0; i < size; ++i) {
    next[i] = i + 1;
    previous[i] = i - 1;
    rank[i] = i + 1 < size ? vocabulary_.find_pair(text[i], text[i + 1]) : kNone;
    if (rank[i] != kNone) pairs.push_back(Candidate(rank[i]) << 32 | i);
  }
  sort_by_rank(pairs);

  const auto update = [&](uint32_t start) {
    const uint32_t middle = next[start];
    rank[start] = middle < size ? vocabulary_.find(text + start, next[middle] - start) : kNone;
    if (rank[start] == kNone) return;
    heap.push_back(Candidate(rank[start]) << 32 | start);
    std::push_heap(heap.begin(), heap.end(), std::greater<>());
  };
  auto pair = pairs.begin();
  for (uint32_t turn = 0; pair != pairs.end() || !heap.empty(); ++turn) {
    if (turn % 4096 == 0) check_cancelled(cancelled);
    Candidate best;
    if (heap.empty() || (pair != pairs.end() && *pair < heap.front())) {
      best = *pair++;
    } else {
      best = heap.front();
      std::pop_heap(heap.begin(), heap.end(), std::greater<>());
      heap.pop_back();
    }
    const uint32_t start = uint32_t(best);
    if (rank[start] != uint32_t(best >> 32)) continue;
    const uint32_t gone = next[start];
    rank[gone] = kNone;
    next[start] = next[gone];
    if (next[start] < size) previous[next[start]] = start;
    update(start);
    if (start > 0) update(previous[start]);
  }

  for (uint32_t start = 0; start < size; start = next[start]) {
    ids_.push_back(vocabulary_.find(text + start, next[start] - start));
  }
}

}  // namespace oss::tokenizer
