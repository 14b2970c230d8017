// Divides work on rows of weights among threads.
#pragma once
#include <algorithm>
#include <cstdint>

#include "kernels/cpu/bf16.h"

namespace oss {

// The bytes of weight rows that a thread takes at once. From 16 KB on, a range takes much longer than fetching the next
// one (100 ns). Up to 128 KB it stays in L2 during the pass over the tokens. A range that is read only once may be
// larger: the begin of each range is not prefetched.
constexpr int64_t kRangeBytesLeast = 16 << 10, kRangeBytesMost = 128 << 10, kRangeBytesOnce = 1 << 20;

// Rows per range, a multiple of `unit`: about eight ranges per thread, so that other threads take over from a slow one.
inline int64_t rows_per_range(int64_t rows, int64_t row_bytes, int64_t unit, int threads,
                              int64_t most = kRangeBytesMost) {
  const int64_t bytes = std::clamp(rows * row_bytes / (8 * threads), kRangeBytesLeast, most);
  return std::max<int64_t>(1, bytes / (row_bytes * unit)) * unit;
}

// Panels of `panel_rows` rows each, the last one filled up.
inline int panels_for(const cpu::Bf16Kernels& bf16, int rows) { return (rows + bf16.panel_rows - 1) / bf16.panel_rows; }

constexpr int kMostPanelRows = 16;

// Rows of bf16 experts that a thread takes at most. Their products with 512 pairs of token and expert are 256 KB.
constexpr int kMostExpertRows = 128;

}  // namespace oss
