// How work on rows of weights is divided among threads.
#pragma once
#include <algorithm>
#include <cstdint>

#include "kernels/cpu/bf16.h"

namespace oss {

// A range of weight rows that a thread takes at once. From 16 KB a range outlasts the taking of it (100 ns), and up to
// 128 KB it stays in L2 while the tokens pass. A range that is passed over once may be larger: where it begins, nothing has
// been prefetched.
constexpr int64_t kRangeBytesLeast = 16 << 10, kRangeBytesMost = 128 << 10, kRangeBytesOnce = 1 << 20;

// Rows per range, a multiple of `unit`: about eight ranges per thread, so that a slow one leaves work to the others.
inline int64_t rows_per_range(int64_t rows, int64_t row_bytes, int64_t unit, int threads,
                              int64_t most = kRangeBytesMost) {
  const int64_t bytes = std::clamp(rows * row_bytes / (8 * threads), kRangeBytesLeast, most);
  return std::max<int64_t>(1, bytes / (row_bytes * unit)) * unit;
}

// Panels of `panel_rows` rows each, the last one filled up.
inline int panels_for(const cpu::Bf16Kernels& bf16, int rows) { return (rows + bf16.panel_rows - 1) / bf16.panel_rows; }

constexpr int kMostPanelRows = 16;

}  // namespace oss
