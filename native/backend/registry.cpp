#include "native/backend/registry.h"

#include "native/base/error.h"
#include "native/base/str.h"

namespace oss {

std::unique_ptr<Backend> make_backend(const BackendOptions& options) {
  const std::string name = options.backend.substr(0, options.backend.find(':'));  // "cuda:1" is a device of "cuda"
  if (options.backend == "auto" || options.backend == "cpu") return make_cpu_backend(options);
  if (name == "cuda") return make_cuda_backend(options);
  if (name == "metal") return make_metal_backend(options);
  throw Error(
      Code::kInvalidArgument,
      str("expected \"auto\", \"cpu\", \"cuda\" or \"metal\" for backend but received \"", options.backend, "\""));
}

std::span<const BackendStatus> list_backends() {
  static const BackendStatus all[] = {cpu_status(), cuda_status(), metal_status()};
  return all;
}

}  // namespace oss
