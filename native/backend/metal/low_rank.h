// The steps of adapters' terms, for the operations that add them. Each encodes a dispatch for each adapter of the step.
#pragma once
#include "native/backend/metal/operations.h"

namespace oss::metal {

// The products of a row: `per_row` of them. Their terms are adjacent from `number` on: in their order, or by the numbers
// of `chosen` [rows, per_row], of `choices`.
struct LowRankProducts {
  int number, per_row;
  const int32_t* chosen = nullptr;
  int choices = 0;
  int rows = 0;  // of `chosen`
};

// sums = scale · A x. x_each: each product has its own row of x [rows, per_row, in]; else those of a row share it.
struct LowRankInputs {
  const uint16_t *x, *x_low;
  int in, rows;
  bool x_each = false;
};
void low_rank_sums(Encoder&, const LowRankStep&, const LowRankProducts&, const LowRankInputs&);

// terms = B · sums. A row's first product has out_first outputs, each other one out_rest.
void low_rank_terms(Encoder&, const LowRankStep&, const LowRankProducts&, int out_first, int out_rest);

// y[r] += B · sums, with the weights [rows, per_row] if there are any.
void low_rank_add(Encoder&, const LowRankStep&, const LowRankProducts&, int out, const float* weight, float* y);

// Whether one of the step's adapters has one of the terms.
bool has_terms(const LowRankStep&, const LowRankProducts&);

// The places in the lists of rows up to the last one of the step.
int end_of_places(const LowRankStep&);

}  // namespace oss::metal
