// The operations of the lab. Those of the seam (native/backend/backend.h) run on every backend; parts of them that only
// the CPU has as functions of their own run there.
#pragma once
#include <memory>
#include <span>

#include "native/lab/lab.h"

namespace oss::lab {

struct OperationKind {
  const char* name;
  bool (*has)(const Lab&);
  // cold_bytes: that all copies of the weights, or of the cache of keys and values, take together.
  std::unique_ptr<Operation> (*make)(Lab&, Arguments&, size_t cold_bytes);
};
std::span<const OperationKind> operation_kinds();

// By file.
std::unique_ptr<Operation> make_embed(Lab&, Arguments&, size_t cold_bytes);
std::unique_ptr<Operation> make_rms_norm(Lab&, Arguments&, size_t cold_bytes);
std::unique_ptr<Operation> make_router(Lab&, Arguments&, size_t cold_bytes);
std::unique_ptr<Operation> make_sample(Lab&, Arguments&, size_t cold_bytes);

std::unique_ptr<Operation> make_linear(Lab&, Arguments&, size_t cold_bytes);
std::unique_ptr<Operation> make_lm_head(Lab&, Arguments&, size_t cold_bytes);
std::unique_ptr<Operation> make_experts(Lab&, Arguments&, size_t cold_bytes);

std::unique_ptr<Operation> make_qkv(Lab&, Arguments&, size_t cold_bytes);
std::unique_ptr<Operation> make_attention(Lab&, Arguments&, size_t cold_bytes);

bool has_cpu_kernels(const Lab&);
bool has_mxfp4_gemm(const Lab&);
std::unique_ptr<Operation> make_swiglu(Lab&, Arguments&, size_t cold_bytes);
std::unique_ptr<Operation> make_mxfp4_dequantize(Lab&, Arguments&, size_t cold_bytes);
std::unique_ptr<Operation> make_mxfp4_gemm(Lab&, Arguments&, size_t cold_bytes);

}  // namespace oss::lab
