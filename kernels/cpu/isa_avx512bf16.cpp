// Compiled with the flags of AVX-512 and -mavx512bf16.
#if defined(__GNUC__) && !defined(__clang__)
// GCC 12 takes the deliberately undefined operand inside its own intrinsics for a mistake (its bug 105593).
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

namespace oss::cpu::avx512bf16 {

namespace {
// The order matters: each uses the one before
// clang-format off
#include "kernels/cpu/simd.h"
#include "kernels/cpu/simd_bf16.h"
#include "kernels/cpu/bf16_rows.inl"
// clang-format on
}  // namespace

extern constexpr Bf16Kernels kBf16 = {
    .isa = "avx512bf16",
    .panel_rows = 1,
    .row_unit = kTileRows,
    .strips = false,
    .pack = pack,
    .linear = linear,
    .pack_packed = pack,
    .packed_work_elements = packed_work_elements,
    .linear_q8 = linear_q8,
    .experts_gate_up = experts_gate_up,
    .experts_down = experts_down,
    .attention_tokens = 0,
    .attention_work = nullptr,
    .attention_chunk = nullptr,
};

}  // namespace oss::cpu::avx512bf16
