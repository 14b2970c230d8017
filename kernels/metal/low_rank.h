// The arguments of low_rank.metal, for host and device.
#pragma once
#include "kernels/common/lang.h"

namespace oss {

OSS_CONSTANT int kMostLowRank = 1024;  // of a term; the length of a row of sums
OSS_CONSTANT int kLowRankVector = 8;   // bf16 values in a load of 16 bytes
OSS_CONSTANT int kLowRankSimdgroups = 4;
OSS_CONSTANT int kLowRankThreads = 32 * kLowRankSimdgroups;

// The term of one matrix [out, in]: scale · B A. Where A [rank, in] and B [out, rank] begin among the factors of its
// adapter. Without rank there is no term.
struct LowRankTerm {
  uint64_t a, b;
  int32_t rank;
  float scale;
};

// The products of a listed row: `per_row` of them, each with a term of its own. Those are the first ones of the table,
// or with `chosen` [rows, per_row] the ones of these numbers.
struct LowRankSumsLaunch {
  int in, per_row;
  int base;     // the row that x and `chosen` begin with
  int chosen;   // 1: there are such numbers
  int x_each;   // 1: each product has its own row of x; 0: those of one row share it
  int has_low;  // 1: there is x_low
  int parts;    // the threadgroups that share the rank
};

// The first product of a row has out_first outputs, each other one out_rest. They are adjacent.
struct LowRankTermsLaunch {
  int per_row, base, chosen;
  int out_first, out_rest;
};

struct LowRankAddLaunch {
  int out, per_row, base, chosen;
  int weighted;   // 1: products have weights [rows, per_row]
  int first_row;  // the one that y begins with
};

}  // namespace oss
