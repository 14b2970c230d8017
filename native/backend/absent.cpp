#include "native/backend/registry.h"
#include "native/base/error.h"
#include "native/base/str.h"

namespace oss {

static BackendStatus absent(const char* name) { return {name, false, "not in this build"}; }

[[noreturn]] static void refuse(const BackendOptions& options) {
  throw Error(
      Code::kUnsupported,
      str("backend \"", options.backend, "\" is not in this build; use \"cpu\", or \"auto\" for the best there is"),
      "backend");
}

BackendStatus metal_status() { return absent("metal"); }
std::unique_ptr<Backend> make_metal_backend(const BackendOptions& options) { refuse(options); }

}  // namespace oss
