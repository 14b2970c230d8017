// Code shared by the kernels of sample.cu: the order of tokens, their memory, and the division of rows into slices.
#pragma once
#include <cfloat>
#include <cstdint>

#include "kernels/cuda/block.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/sample_scratch.h"

namespace oss::cuda::sampling {

constexpr int kMostBlocks = 1024;  // twice what an H200 runs at once; each takes every 1,024th slice of all rows

// --- the order of tokens ---------------------------------------------------------------------------------------------

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
