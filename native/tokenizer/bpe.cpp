#include "native/tokenizer/bpe.h"

#include <algorithm>
#include <functional>

namespace oss::tokenizer {
namespace {

// A possible merge as rank << 32 | start: the smallest is the leftmost of the lowest rank.
using Candidate = uint64_t;

// Sorts by rank, and by start where that is the order already: two counting passes over the 18 bits of a rank.
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

}  // namespace

std::vector<uint32_t> merge_long(const Vocabulary& vocabulary, Bytes piece) {
  constexpr uint32_t kNone = Vocabulary::kNone;
  const uint8_t* text = piece.data();
  const uint32_t size = uint32_t(piece.size());

  // A part is known by its start. rank[start] is that of the part joined with the next, kNone for a part that is gone.
  // A candidate whose rank is no longer that of its part is out of date and skipped.
  std::vector<uint32_t> next(size), previous(size), rank(size);
  std::vector<Candidate> pairs;  // the merges of two bytes, best first: half of all candidates need no heap
  std::vector<Candidate> heap;   // those that merges have made
  pairs.reserve(size);
  for (uint32_t i = 0; i < size; ++i) {
    next[i] = i + 1;
    previous[i] = i - 1;
    rank[i] = i + 1 < size ? vocabulary.find_pair(text[i], text[i + 1]) : kNone;
    if (rank[i] != kNone) pairs.push_back(Candidate(rank[i]) << 32 | i);
  }
  sort_by_rank(pairs);

  const auto update = [&](uint32_t start) {
    const uint32_t middle = next[start];
    rank[start] = middle < size ? vocabulary.find(text + start, next[middle] - start) : kNone;
    if (rank[start] == kNone) return;
    heap.push_back(Candidate(rank[start]) << 32 | start);
    std::push_heap(heap.begin(), heap.end(), std::greater<>());
  };
  auto pair = pairs.begin();
  while (pair != pairs.end() || !heap.empty()) {
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

  std::vector<uint32_t> starts;
  for (uint32_t start = 0; start < size; start = next[start]) starts.push_back(start);
  starts.push_back(size);
  return starts;
}

}  // namespace oss::tokenizer
