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
};

}  // namespace oss::cpu::amx
