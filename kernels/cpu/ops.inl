// Every kernel, compiled once in each isa_*.cpp. That file names the namespace, includes the intrinsics, and defines
// OSS_SIMD_*. Those files may include only common/ and intrinsics: see OSS_FN in common/lang.h.
#include "kernels/common/dtype.h"
#include "kernels/common/mxfp4.h"
#include "kernels/common/q8.h"
#include "kernels/common/softmax.h"
#include "kernels/common/swiglu.h"
#include "kernels/cpu/kernels.h"

namespace oss::cpu::OSS_ISA {

namespace {
#include "kernels/cpu/simd.h"
// The order matters: experts uses swiglu, attention uses widen.
// clang-format off
#include "kernels/cpu/widen.inl"
#include "kernels/cpu/narrow.inl"
#include "kernels/cpu/q8.inl"
#include "kernels/cpu/quantize_mxfp4.inl"
#include "kernels/cpu/rms_norm.inl"
#include "kernels/cpu/linear.inl"
#include "kernels/cpu/rope.inl"
#include "kernels/cpu/attention.inl"
#include "kernels/cpu/router.inl"
#include "kernels/cpu/swiglu.inl"
#include "kernels/cpu/experts.inl"
#include "kernels/cpu/sample.inl"
#include "kernels/cpu/peak_float32.inl"
// clang-format on
}  // namespace

#define OSS_STRING_(x) #x
#define OSS_STRING(x) OSS_STRING_(x)

extern constexpr Kernels kKernels = {
    .isa = OSS_STRING(OSS_ISA),
    .widen = widen,
    .narrow = narrow,
    .quantize_q8 = quantize_q8,
    .widen_q8 = widen_q8,
    .rms_norm = rms_norm,
    .linear = linear,
    .linear_q8 = linear_q8,
    .rope = rope,
    .attention_clear = attention_clear,
    .attention_chunk = attention_chunk,
    .attention_merge = attention_merge,
    .attention_finish = attention_finish,
    .router = router,
    .swiglu = swiglu_row,
    .mxfp4_dequantize = mxfp4_dequantize,
    .quantize_mxfp4 = quantize_mxfp4,
    .experts_split = experts_split,
    .experts_gate_up = experts_gate_up,
    .experts_down = experts_down,
    .experts_sum = experts_sum,
    .sample_highest = sample_highest,
    .sample_weights = sample_weights,
    .peak_instruction = kPeakInstruction,
    .peak = peak,
};

}  // namespace oss::cpu::OSS_ISA
