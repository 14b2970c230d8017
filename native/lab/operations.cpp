#include "native/lab/operations.h"

namespace oss::lab {

static bool always(const Lab&) { return true; }

std::span<const OperationKind> operation_kinds() {
  static constexpr OperationKind kKinds[] = {
      {"embed", always, make_embed},
      {"rmsNorm", always, make_rms_norm},
      {"linear", always, make_linear},
      {"qkv", always, make_qkv},
      {"attention", always, make_attention},
      {"router", always, make_router},
      {"experts", always, make_experts},
      {"lmHead", always, make_lm_head},
      {"sample", always, make_sample},
      {"swiglu", has_cpu_kernels, make_swiglu},
      {"mxfp4Dequantize", has_cpu_kernels, make_mxfp4_dequantize},
      {"mxfp4Gemm", has_mxfp4_gemm, make_mxfp4_gemm},
  };
  return kKinds;
}

}  // namespace oss::lab
