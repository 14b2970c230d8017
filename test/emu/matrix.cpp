// The matrix instructions, executed once per warp by the last lane to arrive.
#include <bit>
#include <cstring>

#include "test/emu/include/kernels/cuda/ptx/mma.cuh"

namespace oss::emu {
namespace {

// Two bf16 to two floats.
inline void widen(uint32_t pair, float* to) {
  to[0] = std::bit_cast<float>(pair << 16);
  to[1] = std::bit_cast<float>(pair & 0xFFFF0000u);
}

void need_all(unsigned lanes, const Where& where) {
  if (lanes != kWholeWarp) fault(kLaunchFailure, "a matrix instruction in a warp whose other lanes have ended", where);
}

using Eight = float __attribute__((vector_size(32)));

}  // namespace

// The hardware's order within these sixteen products is unknown. Here they are added one by one, lowest k first.
void mma_m16n8k16(void* const* operands, unsigned lanes, const Where& where) {
  need_all(lanes, where);
  alignas(32) float a[16][16], b[16][8], d[16][8];
  for (int lane = 0; lane < kWarpLanes; ++lane) {
    const MmaOperand& mine = *static_cast<const MmaOperand*>(operands[lane]);
    const int g = lane / 4, t = lane % 4;
    widen(mine.a[0], &a[g][2 * t]);
    widen(mine.a[1], &a[g + 8][2 * t]);
    widen(mine.a[2], &a[g][2 * t + 8]);
    widen(mine.a[3], &a[g + 8][2 * t + 8]);
    for (int half = 0; half < 2; ++half) {
      float pair[2];
      widen(mine.b[half], pair);
      b[2 * t + 8 * half][g] = pair[0];
      b[2 * t + 8 * half + 1][g] = pair[1];
    }
    std::memcpy(&d[g][2 * t], &mine.d[0], 8);
    std::memcpy(&d[g + 8][2 * t], &mine.d[2], 8);
  }
  const Eight* b_rows = reinterpret_cast<const Eight*>(b);
  Eight* d_rows = reinterpret_cast<Eight*>(d);
  for (int row = 0; row < 16; row += 4) {
    Eight sums[4] = {d_rows[row], d_rows[row + 1], d_rows[row + 2], d_rows[row + 3]};
    for (int k = 0; k < 16; ++k) {
      for (int r = 0; r < 4; ++r) sums[r] += a[row + r][k] * b_rows[k];
    }
    for (int r = 0; r < 4; ++r) d_rows[row + r] = sums[r];
  }
  for (int lane = 0; lane < kWarpLanes; ++lane) {
    const MmaOperand& mine = *static_cast<const MmaOperand*>(operands[lane]);
    const int g = lane / 4, t = lane % 4;
    std::memcpy(&mine.d[0], &d[g][2 * t], 8);
    std::memcpy(&mine.d[2], &d[g + 8][2 * t], 8);
  }
}

template <bool kTransposed>
static void load_matrices(void* const* operands, unsigned lanes, const Where& where) {
  need_all(lanes, where);
  uint16_t matrices[4][8][8];
  for (int lane = 0; lane < kWarpLanes; ++lane) {
    std::memcpy(matrices[lane / 8][lane % 8], static_cast<const LdmatrixOperand*>(operands[lane])->row, 16);
  }
  for (int lane = 0; lane < kWarpLanes; ++lane) {
    const LdmatrixOperand& mine = *static_cast<const LdmatrixOperand*>(operands[lane]);
    const int g = lane / 4, t = lane % 4;
    for (int m = 0; m < 4; ++m) {
      const auto& matrix = matrices[m];
      const uint32_t low = kTransposed ? matrix[2 * t][g] : matrix[g][2 * t];
      const uint32_t high = kTransposed ? matrix[2 * t + 1][g] : matrix[g][2 * t + 1];
      mine.r[m] = low | high << 16;
    }
  }
}

void ldmatrix_x4(void* const* operands, unsigned lanes, const Where& where) {
  load_matrices<false>(operands, lanes, where);
}
void ldmatrix_x4_trans(void* const* operands, unsigned lanes, const Where& where) {
  load_matrices<true>(operands, lanes, where);
}

}  // namespace oss::emu
