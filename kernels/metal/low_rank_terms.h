// What a kernel adds to the products of a matrix: the terms of adapters, which low_rank_terms has left in memory.
#pragma once
#include "kernels/metal/lang.h"

namespace oss {

// In a step without adapters.
struct NoTerms {
  float add(float sum, int, int) const { return sum; }
};

struct AdapterTerms {
  DevicePtr<const int> place;    // [rows] among the rows that have an adapter; -1: the row has none
  DevicePtr<const float> terms;  // [rows that have one, per_row, out]
  int per_row, out;

  bool has(int product) const { return place[product / per_row] >= 0; }
  // The terms of a product, which has() them: the i-th of row r is product r · per_row + i.
  DevicePtr<const float> of(int product) const {
    const ulong row = ulong(place[product / per_row]) * ulong(per_row) + ulong(product % per_row);
    return terms + row * ulong(out);
  }
  // A product without an adapter keeps its bits.
  float add(float sum, int product, int output) const { return has(product) ? sum + of(product)[output] : sum; }
};

}  // namespace oss
