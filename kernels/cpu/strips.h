// MXFP4 and Q8 weights in strips of 32 rows, for units that multiply tiles. The data of one step of 32 columns is
// contiguous and in the order of use. So memory is read sequentially, and unpacking never moves data across lanes.
//
//   rows of a strip     0 .. 31 in order; in gate_up the 16 gates of 16 units, then their 16 ups
//   MXFP4 codes         [cols/32][2 tiles][4][16 rows] dwords: nibble i of the low word is the code of column 2·(4q + i)
//                       of a step; in the high word it is the code of the next column
//   Q8 codes            [cols/32][2 tiles][16 pairs of columns][16 rows][2]
//   scales of either    [cols/32][32 rows]
//
// Strips take as many bytes as the rows themselves.
#pragma once
#include <cstdint>

namespace oss::cpu {

constexpr int kStripRows = 32;
constexpr int64_t whole_strips(int64_t rows) { return (rows + kStripRows - 1) / kStripRows * kStripRows; }

// 32 rows of MXFP4 [32, steps, 16] and their scales [32, steps] → a strip. gate_up: gate and up rows alternate.
void pack_mxfp4_strip(int steps, bool gate_up, const uint8_t* blocks, const uint8_t* scales, uint8_t* strip_codes,
                      uint8_t* strip_scales);

// Up to 32 rows of Q8 [num_rows, steps, 32] and their scales [num_rows, steps] → a strip; missing rows are zeros.
void pack_q8_strip(int num_rows, int steps, const int8_t* codes, const uint16_t* scales, int8_t* strip_codes,
                   uint16_t* strip_scales);

}  // namespace oss::cpu
