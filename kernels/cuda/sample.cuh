// Code shared by the kernels of sample.cu: the order of tokens, their memory, and the division of rows into slices.
#pragma once
#include <cfloat>
#include <cstdint>

#include "kernels/cuda/block.cuh"
#include "kernels/cuda/launch.cuh"

namespace oss::cuda::sampling {

constexpr int kThreads = 256;
constexpr int kThreadTokens = 8;  // consecutive ones: two loads of 16 bytes
constexpr int kSliceTokens = kThreads * kThreadTokens;
constexpr int kMostBlocks = 1024;  // twice what an H200 runs at once; each takes every 1,024th slice of all rows

// --- the order of tokens ---------------------------------------------------------------------------------------------

using Word = unsigned long long;  // the type of atomicAdd and shuffles

// Smaller is better. Equal logits have equal ranks.
__device__ __forceinline__ uint32_t rank_of(float logit) {
  const uint32_t bits = __float_as_uint(__fadd_rn(logit, 0.0f));  // -0 becomes +0
  return bits >> 31 != 0 ? bits : ~bits & 0x7FFFFFFFu;
}
__device__ __forceinline__ float logit_of(uint32_t rank) {
  return __uint_as_float(rank >> 31 != 0 ? rank : ~rank & 0x7FFFFFFFu);
}
constexpr uint32_t kNoLimit = 0xFFFFFFFFu;  // after every rank

// Rank, then id: the order of all tokens of a row.
using Key = Word;
constexpr Key kNoKey = ~Key(0);
__device__ __forceinline__ Key key_of(float logit, int id) { return Key(rank_of(logit)) << 32 | uint32_t(id); }
__device__ __forceinline__ float logit_of_key(Key key) { return logit_of(uint32_t(key >> 32)); }
__device__ __forceinline__ int id_of_key(Key key) { return int(uint32_t(key)); }

__device__ __forceinline__ bool is_finite_or_positive_inf(float logit) { return logit >= -FLT_MAX; }  // false for NaN
__device__ __forceinline__ float clamped(float logit) { return logit > FLT_MAX ? FLT_MAX : logit; }

// Ids of o200k_harmony without a meaning.
__device__ __forceinline__ bool is_reserved(int id) {
  if (id < 200000) return false;
  return !(id == 200002 || id == 200003 || (id >= 200005 && id < 200009) || id == 200012);
}
__device__ __forceinline__ bool is_candidate(const SamplingArgs& args, float logit, int id) {
  return is_finite_or_positive_inf(logit) && !(args.mask_reserved != 0 && is_reserved(id));
}

__device__ __forceinline__ double weight_of(float logit, float max, float temperature) {
  return exp((double(logit) - double(max)) / double(temperature));
}

// --- scratch ---------------------------------------------------------------------------------------------------------

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
  const size_t rows = size_t(args.rows), slices = size_t(divide_up(args.vocab, kSliceTokens));
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

struct Problem {
  int capacity, vocab, slices;
  const float* logits;  // [.., vocab]
  const SampleRow* rows;
  const SampleSeen* seen;
  const SampleBias* bias;
  SampleResult* out;
  Scratch s;

  __device__ const float* raw(int row) const { return logits + size_t(rows[row].row) * vocab; }
  __device__ float* adjusted(int row) const { return s.adjusted + size_t(row) * vocab; }
  __device__ size_t at(int row, int slice) const { return size_t(row) * slices + slice; }
};

__device__ __forceinline__ bool has_penalty(const SamplingArgs& args) {
  return args.repetition_penalty != 1 || args.presence_penalty != 0 || args.frequency_penalty != 0;
}
__device__ __forceinline__ bool is_adjusted(const SampleRow& row) {
  return (has_penalty(row.args) && row.seen_begin < row.seen_end) || row.bias_begin < row.bias_end ||
         row.allowed != nullptr;
}
__device__ __forceinline__ bool is_allowed(const SampleRow& row, int token) {
  return row.allowed == nullptr || (row.allowed[token / 32] >> (token % 32) & 1u) != 0;
}
// The logits from which the token is drawn.
__device__ __forceinline__ const float* drawn_logits(const Problem& p, int row) {
  return is_adjusted(p.rows[row]) ? p.adjusted(row) : p.raw(row);
}

// Calls visit(row, slice) for this block's share of all slices of the rows in a list, or of the first `num_rows` rows.
template <typename Visit>
__device__ __forceinline__ void for_each_slice(const Problem& p, int num_rows, const int* list, Visit visit) {
  for (int item = int(blockIdx.x); item < num_rows * p.slices; item += int(gridDim.x)) {
    const int row = item / p.slices;
    visit(list != nullptr ? list[row] : row, item % p.slices);
  }
}
template <typename Visit>
__device__ __forceinline__ void for_each_slice(const Problem& p, List list, Visit visit) {
  for_each_slice(p, p.s.list_size[list], p.s.lists + size_t(list) * p.capacity, visit);
}

// Called by one thread. The order of a list changes from run to run; results do not depend on it.
__device__ __forceinline__ void append(const Problem& p, List list, int row) {
  p.s.lists[size_t(list) * p.capacity + atomicAdd(&p.s.list_size[list], 1)] = row;
}

// Whether the block is the last of its row; if so, it can read the writes of the others, past L1 (__ldcg).
__device__ __forceinline__ bool last_of_row(const Problem& p, int row) {
  __shared__ int last;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    last = atomicAdd(&p.s.tickets[row], 1) == p.slices - 1 ? 1 : 0;
    if (last != 0) p.s.tickets[row] = 0;  // for the next launch
  }
  __syncthreads();
  __threadfence();
  return last != 0;
}

// --- slices ----------------------------------------------------------------------------------------------------------

// The tokens of a thread; NaN past the end of the row.
struct Tokens {
  int first;
  float logits[kThreadTokens];
};

__device__ __forceinline__ Tokens load_tokens(const Problem& p, const float* row, int slice) {
  Tokens t;
  t.first = slice * kSliceTokens + int(threadIdx.x) * kThreadTokens;
  const float* from = row + t.first;
  if (t.first + kThreadTokens <= p.vocab && reinterpret_cast<uintptr_t>(from) % 16 == 0) {
    for (int i = 0; i < kThreadTokens; i += 4) {
      const float4 four = *reinterpret_cast<const float4*>(from + i);
      t.logits[i] = four.x;
      t.logits[i + 1] = four.y;
      t.logits[i + 2] = four.z;
      t.logits[i + 3] = four.w;
    }
  } else {
    for (int i = 0; i < kThreadTokens; ++i) t.logits[i] = t.first + i < p.vocab ? from[i] : NAN;
  }
  return t;
}

template <typename Visit>
__device__ __forceinline__ void for_each_candidate(const Tokens& t, const SamplingArgs& args, Visit visit) {
#pragma unroll
  for (int i = 0; i < kThreadTokens; ++i) {
    if (is_candidate(args, t.logits[i], t.first + i)) visit(t.first + i, clamped(t.logits[i]));
  }
}

// Returns the best key of a thread's candidates that is not below `least`.
__device__ __forceinline__ Key best_from(const Tokens& t, const SamplingArgs& args, Key least) {
  Key best = kNoKey;
  for_each_candidate(t, args, [&](int id, float logit) {
    const Key key = key_of(logit, id);
    if (key >= least && key < best) best = key;
  });
  return best;
}

}  // namespace oss::cuda::sampling
