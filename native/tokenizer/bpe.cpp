#include "native/tokenizer/bpe.h"

#include <algorithm>
#include <functional>

namespace oss::tokenizer {

std::vector<uint32_t> merge_long(const Vocabulary& vocabulary, Bytes piece) {
  constexpr uint32_t kNone = Vocabulary::kNone;
  const uint8_t* text = piece.data();
  const uint32_t size = uint32_t(piece.size());

  // A part is known by its start. rank[start] is that of the part joined with the next, kNone for a part that is gone.
  std::vector<uint32_t> next(size), previous(size), rank(size);
  // Candidates as rank << 32 | start, so that the smallest is the leftmost of the lowest rank. One whose rank is no
  // longer that of its part is out of date and skipped.
  std::vector<uint64_t> heap;
  heap.reserve(size);
  for (uint32_t i = 0; i < size; ++i) {
    next[i] = i + 1;
    previous[i] = i - 1;
    rank[i] = i + 1 < size ? vocabulary.find_pair(text[i], text[i + 1]) : kNone;
    if (rank[i] != kNone) heap.push_back(uint64_t(rank[i]) << 32 | i);
  }
  std::make_heap(heap.begin(), heap.end(), std::greater<>());

  const auto update = [&](uint32_t start) {
    const uint32_t middle = next[start];
    rank[start] = middle < size ? vocabulary.find(text + start, next[middle] - start) : kNone;
    if (rank[start] == kNone) return;
    heap.push_back(uint64_t(rank[start]) << 32 | start);
    std::push_heap(heap.begin(), heap.end(), std::greater<>());
  };
  while (!heap.empty()) {
    const uint32_t best_rank = uint32_t(heap.front() >> 32), start = uint32_t(heap.front());
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    heap.pop_back();
    if (rank[start] != best_rank) continue;
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
