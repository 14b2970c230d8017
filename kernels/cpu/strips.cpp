#include "kernels/cpu/strips.h"

#include <cstring>

#include "kernels/common/mxfp4.h"
#include "kernels/common/q8.h"

namespace oss::cpu {

constexpr int kTileRows = kStripRows / 2;

// Reorders four bytes with two codes each: the codes of even columns go below the codes of odd ones.
static uint32_t even_then_odd(uint32_t codes) {
  uint32_t moved = (codes ^ (codes >> 4)) & 0x00F000F0u;
  codes ^= moved ^ (moved << 4);
  moved = (codes ^ (codes >> 8)) & 0x0000FF00u;
  return codes ^ moved ^ (moved << 8);
}

void pack_mxfp4_strip(int steps, bool gate_up, const uint8_t* blocks, const uint8_t* scales, uint8_t* strip_codes,
                      uint8_t* strip_scales) {
  constexpr int kQuarters = kMxBlockBytes / 4;
  for (int r = 0; r < kStripRows; ++r) {
    const int tile = r / kTileRows, in_tile = r % kTileRows;
    const size_t from = size_t(gate_up ? 2 * in_tile + tile : r) * steps;
    uint8_t* to = strip_codes + (size_t(tile) * kQuarters * kTileRows + in_tile) * 4;
    for (int s = 0; s < steps; ++s, to += kStripRows * kMxBlockBytes) {
      uint32_t quarters[kQuarters];
      std::memcpy(quarters, blocks + (from + s) * kMxBlockBytes, sizeof quarters);
      for (int q = 0; q < kQuarters; ++q) {
        const uint32_t dword = even_then_odd(quarters[q]);
        std::memcpy(to + q * kTileRows * 4, &dword, 4);
      }
      strip_scales[size_t(s) * kStripRows + r] = scales[from + s];
    }
  }
}

void pack_q8_strip(int num_rows, int steps, const int8_t* codes, const uint16_t* scales, int8_t* strip_codes,
                   uint16_t* strip_scales) {
  std::memset(strip_codes, 0, size_t(kStripRows) * steps * kQ8Block);
  std::memset(strip_scales, 0, size_t(kStripRows) * steps * sizeof(uint16_t));
  for (int r = 0; r < num_rows; ++r) {
    const int8_t* from = codes + size_t(r) * steps * kQ8Block;
    int8_t* to = strip_codes + (r / kTileRows) * kTileRows * kQ8Block + (r % kTileRows) * 2;
    for (int s = 0; s < steps; ++s, from += kQ8Block, to += kStripRows * kQ8Block) {
      for (int pair = 0; pair < kQ8Block / 2; ++pair) std::memcpy(to + pair * kTileRows * 2, from + 2 * pair, 2);
      strip_scales[size_t(s) * kStripRows + r] = scales[size_t(r) * steps + s];
    }
  }
}

}  // namespace oss::cpu
