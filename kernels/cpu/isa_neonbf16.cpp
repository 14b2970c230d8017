// Compiled with -march=armv8.2-a+bf16.
#include <arm_neon.h>

#define OSS_SIMD_NEON
#include "kernels/common/dtype.h"
#include "kernels/common/mxfp4.h"
#include "kernels/common/q8.h"
#include "kernels/common/swiglu.h"
#include "kernels/cpu/bf16.h"

namespace oss::cpu::neonbf16 {

namespace {
// The order matters: each uses the one before
// clang-format off
#include "kernels/cpu/simd.h"
#include "kernels/cpu/simd_bf16.h"
#include "kernels/cpu/bf16_rows.inl"
// clang-format on
}  // namespace

extern constexpr Bf16Kernels kBf16 = {
    .isa = "neonbf16",
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

}  // namespace oss::cpu::neonbf16
