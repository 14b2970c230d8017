// The kernels of a unit that multiplies bf16 row by row, compiled once in each isa_*bf16.cpp. That file names the
// namespace, includes the intrinsics, and defines OSS_SIMD_*.
#include "kernels/common/dtype.h"
#include "kernels/common/mxfp4.h"
#include "kernels/common/q8.h"
#include "kernels/common/swiglu.h"
#include "kernels/cpu/bf16.h"

namespace oss::cpu::OSS_ISA {

namespace {
// The order matters: each file uses the one before.
// clang-format off
#include "kernels/cpu/simd.h"
#include "kernels/cpu/simd_bf16.h"
#include "kernels/cpu/bf16_rows.inl"
#include "kernels/cpu/peak_bf16.inl"
// clang-format on
}  // namespace

#define OSS_STRING_(x) #x
#define OSS_STRING(x) OSS_STRING_(x)

extern constexpr Bf16Kernels kBf16 = {
    .isa = OSS_STRING(OSS_ISA),
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
    .peak_instruction = kPeakInstruction,
    .peak = peak,
};

}  // namespace oss::cpu::OSS_ISA
