#include "native/backend/registry.h"

#include "native/base/error.h"
#include "native/base/str.h"

namespace oss {

// The first GPU that works, else the CPU.
static std::unique_ptr<Backend> make_best(const BackendOptions& options, std::string& why) {
  // Options that no GPU supports select the CPU.
  const char* only_cpu = options.numerics == "exact"                      ? "numerics \"exact\""
                         : options.expert_weights == ExpertWeights::kBF16 ? "expertWeights \"bf16\""
                                                                          : nullptr;
  if (only_cpu != nullptr) {
    why = str(only_cpu, " is for the CPU");
    return make_cpu_backend(options);
  }
  const BackendStatus cuda = options.dense_weights == DenseWeights::kQ8
                                 ? BackendStatus{"cuda", false, "it has no denseWeights \"q8\""}
                                 : cuda_status();
  why = "the first GPU that works";
  if (cuda.available) return make_cuda_backend(options);
  const BackendStatus metal = metal_status();
  if (metal.available) return make_metal_backend(options);
  why = str("no GPU works: cuda: ", cuda.detail, "; metal: ", metal.detail);
  return make_cpu_backend(options);
}

std::unique_ptr<Backend> make_backend(const BackendOptions& options, std::string* why) {
  std::string reason = "asked for";
  std::unique_ptr<Backend> backend;
  const std::string name = options.backend.substr(0, options.backend.find(':'));  // "cuda:1" is a device of "cuda"
  if (options.backend == "auto") {
    backend = make_best(options, reason);
  } else if (options.backend == "cpu") {
    backend = make_cpu_backend(options);
  } else if (name == "cuda") {
    backend = make_cuda_backend(options);
  } else if (options.backend == "metal") {
    backend = make_metal_backend(options);
  } else {
    throw Error(
        Code::kInvalidArgument,
        str("expected \"auto\", \"cpu\", \"cuda\" or \"metal\" for backend but received \"", options.backend, "\""),
        "backend");
  }
  if (why != nullptr) *why = reason;
  return backend;
}

PlannedDevice planned_device(const BackendOptions& options, const std::string& isa) {
  const std::string name = options.backend.substr(0, options.backend.find(':'));
  if (name == "cpu") return planned_cpu(options, isa);
  if (name != "cuda" && name != "metal") {
    throw Error(
        Code::kUnsupported,
        str("expected \"cpu\", \"cuda\" or \"metal\" for the backend of a plan but received \"", options.backend, "\""),
        "backend");
  }
  if (!isa.empty()) {
    throw Error(Code::kInvalidArgument, str("isa \"", isa, "\" is of a CPU; leave it out for a GPU"), "isa");
  }
  return name == "cuda" ? planned_cuda(options) : planned_metal(options);
}

std::vector<BackendStatus> list_backends() { return {cpu_status(), cuda_status(), metal_status()}; }

}  // namespace oss
