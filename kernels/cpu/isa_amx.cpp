// Compiled with the flags of AVX-512 and -mavx512bf16 -mamx-tile -mamx-bf16.
#if defined(__GNUC__) && !defined(__clang__)
// GCC 12 wrongly warns about the deliberately undefined operand in its own intrinsics (its bug 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>

#define OSS_SIMD_AVX512
#include "kernels/common/dtype.h"
#include "kernels/common/mxfp4.h"
#include "kernels/common/q8.h"
#include "kernels/common/swiglu.h"
#include "kernels/cpu/bf16.h"
#include "kernels/cpu/strips.h"

namespace oss::cpu::amx {

namespace {
// The order matters: each file uses the one before.
// clang-format off
#include "kernels/cpu/simd.h"
#include "kernels/cpu/simd_bf16.h"
#include "kernels/cpu/bf16_tiles.inl"
#include "kernels/cpu/bf16_strips.inl"
#include "kernels/cpu/bf16_attention.inl"
// clang-format on

// Four sums, as in the products. Each takes 16 cycles, longer than the latency.
double peak(int64_t rounds) {
  const TileRegisters registers;
  clear_sums<2, 2>();
  _tile_zero(4);
  _tile_zero(5);
  _tile_zero(6);
  _tile_zero(7);
  for (int64_t i = 0; i < rounds; ++i) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  return double(rounds) * 4 * 2 * kTile * kTile * kTileK;
}
}  // namespace

extern constexpr Bf16Kernels kBf16 = {
    .isa = "amx",
    .panel_rows = kTile,
    .row_unit = 2 * kTile,
    .strips = true,
    .pack = pack,
    .linear = linear,
    .pack_packed = pack_left,
    .packed_work_elements = strip_work_elements,
    .linear_q8 = linear_q8,
    .experts_gate_up = experts_gate_up,
    .experts_down = experts_down,
    .attention_tokens = kAttentionTileTokens,
    .attention_work = attention_work,
    .attention_chunk = attention_chunk,
    .peak_instruction = "amx tdpbf16ps",
    .peak = peak,
};

}  // namespace oss::cpu::amx
