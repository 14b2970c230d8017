// The scratch memory of sampling: its layout, with which the host plans. No CUDA headers.
#pragma once
#include <cstddef>
#include <cstdint>

#include "kernels/cuda/kernels.h"

namespace oss::cuda::sampling {

constexpr int kThreads = 256;
constexpr int kThreadTokens = 8;  // consecutive ones: two loads of 16 bytes
constexpr int kSliceTokens = kThreads * kThreadTokens;

using Word = unsigned long long;  // the type of atomicAdd and shuffles
using Key = Word;                 // rank, then id: the order of all tokens of a row

__extension__ typedef unsigned __int128 Amount;  // a count of tokens, or mass in units of 2^-62

struct RowState {
  double raw_log_sum;  // log Σ exp(logit - raw_max) over the raw logits
  float raw_max;
  float max;  // the best candidate's logit
  // The tokens that the filters keep so far: ranks below `limit`, and the first `ties` ids with a rank equal to it.
  uint32_t limit;
  int ties;
  // The search for a new limit: its leading bits, the amount of better tokens, and the wanted amount.
  int searching;
  uint32_t prefix;
  Amount above, wanted;
};

enum List { kAdjusted, kFirstLimit, kSecondLimit, kFiltered, kLists };

constexpr int kBuckets = 2048;  // buckets of the histogram
constexpr int kLimbs = 3;       // a token's mass is 20 + 21 + 21 bits: 2,048 of them fit 32-bit sums

struct Scratch {
  int* tickets;      // [rows] completed slices
  int* list_size;    // [kLists]
  int* lists;        // [kLists, rows] the rows for each later launch, in order of arrival
  RowState* states;  // [rows]
  // [rows, slices]
  float* raw_max;
  double* raw_sum;  // Σ exp(logit - raw_max) over the whole slice
  Key* best;        // the best candidate
  double* sum;  // sum of weights, relative to the best candidate of the slice (read, weigh) or of the row (filtered)
  int* ties;    // candidates at the limit
  Key* top;     // [rows, slices, kMaxTopLogprobs]
  Word* histogram;  // [rows, kBuckets, 2] mass in units of 2^-41 and 2^-62; counts in the second
  float* adjusted;  // [rows, vocab]
  size_t zeroed, bytes;
};

inline Scratch scratch_of(const SampleArgs& args, void* base) {
  const size_t rows = size_t(args.rows), slices = size_t(tiles_of(args.vocab, kSliceTokens));
  size_t bytes = 0;
  const auto part = [&]<typename T>(T*& pointer, size_t count) {
    pointer = reinterpret_cast<T*>(static_cast<char*>(base) + bytes);
    bytes += (count * sizeof(T) + 255) / 256 * 256;
  };
  Scratch s{};
  part(s.tickets, rows);
  part(s.list_size, kLists);
  s.zeroed = bytes;
  part(s.lists, kLists * rows);
  part(s.states, rows);
  part(s.raw_max, rows * slices);
  part(s.raw_sum, rows * slices);
  part(s.best, rows * slices);
  part(s.sum, rows * slices);
  part(s.ties, rows * slices);
  part(s.top, rows * slices * kMaxTopLogprobs);
  part(s.histogram, rows * kBuckets * 2);
  part(s.adjusted, rows * size_t(args.vocab));
  s.bytes = bytes;
  return s;
}

}  // namespace oss::cuda::sampling

namespace oss::cuda {

inline size_t sample_scratch_bytes(const SampleArgs& args) { return sampling::scratch_of(args, nullptr).bytes; }

}  // namespace oss::cuda
