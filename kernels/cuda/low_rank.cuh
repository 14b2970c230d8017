// The terms of adapters for every kernel that adds them: scale · B (A x) in two steps. low_rank_sums computes t = scale
// · A x in a launch of its own. The kernel that has the product with x adds B t to it, LowRankTerms::add.
//
// Sums are float32 in a fixed order, which depends only on the shape of the term. So a row has the same bits alone and
// beside others, and a row without a term is not touched.
#pragma once
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/ptx/convert.cuh"

namespace oss::cuda {

// The term of each row of t. A row of the operation has `per_row` of them: one, or those of q, k and v, or those of the
// experts that its token has chosen.
struct LowRankRows {
  const LowRankTerm* const* adapters;  // [tokens]
  const int32_t* token_of_row;         // [rows]; null: rows are tokens
  const int32_t* expert;               // [rows, per_row], added to `number`; null: 0, 1, ... per_row - 1
  int number;                          // of the first term
  int per_row;

  __device__ __forceinline__ LowRankTerm term(int i) const {
    const int row = i / per_row;
    const LowRankTerm* of_adapter = adapters[token_of_row != nullptr ? token_of_row[row] : row];
    if (of_adapter == nullptr) return {};
    return of_adapter[number + (expert != nullptr ? expert[i] : i % per_row)];
  }
};

// What an epilogue adds to its sums.
struct LowRankTerms {
  LowRankRows rows;
  const float* t;  // [rows, per_row, kMostLowRank]

  // Adds rows `low_row` and `high_row` of the i-th term.
  __device__ __forceinline__ void add(int i, int low_row, int high_row, float& low, float& high) const {
    const LowRankTerm term = rows.term(i);
    if (term.rank == 0) return;
    low += row_of(term, i, low_row);
    high += row_of(term, i, high_row);
  }
  __device__ __forceinline__ float row_of(const LowRankTerm& term, int i, int row) const {
    const float* from = t + size_t(i) * kMostLowRank;
    const bf16* b = term.b + size_t(row) * term.rank;
    float sum = 0;
#pragma unroll 1
    for (int k = 0; k < term.rank; ++k) sum = fmaf(from[k], low_bf16(b[k]), sum);
    return sum;
  }
};

// t of `capacity` rows (of which there are *num_rows) times per_row, [rows, per_row, kMostLowRank].
// rows_per_x: how many consecutive rows of t share a row of x. x_low may be null; `stride`: elements between rows of x.
struct LowRankInputs {
  const bf16 *x, *x_low;
  int in, stride, rows_per_x;
};
Status low_rank_sums(const LowRankRows& rows, int capacity, const int32_t* num_rows, const LowRankInputs& inputs,
                     float* t, Stream stream);

}  // namespace oss::cuda
