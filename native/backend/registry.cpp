#include "native/backend/registry.h"

#include "native/base/error.h"
#include "native/base/str.h"

namespace oss {

std::unique_ptr<Backend> make_backend(const BackendOptions& options) {
  const std::string name = options.backend.substr(0, options.backend.find(':'));  // "cuda:1" is a device of "cuda"
  if (options.backend == "auto") {
    // Options that no GPU supports select the CPU.
    const bool cpu_only = options.numerics == "exact" || options.dense_weights == DenseWeights::kQ8 ||
                          options.expert_weights == ExpertWeights::kBF16;
    if (cpu_only) return make_cpu_backend(options);
    if (cuda_status().available) return make_cuda_backend(options);
    return metal_status().available ? make_metal_backend(options) : make_cpu_backend(options);
  }
  if (options.backend == "cpu") return make_cpu_backend(options);
  if (name == "cuda") return make_cuda_backend(options);
  if (name == "metal") return make_metal_backend(options);
  throw Error(
      Code::kInvalidArgument,
      str("expected \"auto\", \"cpu\", \"cuda\" or \"metal\" for backend but received \"", options.backend, "\""),
      "backend");
}

PlannedDevice planned_device(const BackendOptions& options, const std::string& isa) {
  const std::string name = options.backend.substr(0, options.backend.find(':'));
  if (name == "cpu") return planned_cpu(options, isa);
  if (name != "cuda" && name != "metal") {
    throw Error(Code::kUnsupported,
                str("expected \"cpu\", \"cuda\" or \"metal\" for the backend of a plan but received \"",
                    options.backend, "\""),
                "backend");
  }
  if (!isa.empty()) {
    throw Error(Code::kInvalidArgument, str("isa \"", isa, "\" is of a CPU; leave it out for a GPU"), "isa");
  }
  return name == "cuda" ? planned_cuda(options) : planned_metal(options);
}

std::vector<BackendStatus> list_backends() { return {cpu_status(), cuda_status(), metal_status()}; }

}  // namespace oss
