#include "native/backend/metal/device.h"

#include "native/base/str.h"

namespace oss::metal {

constexpr int kOldestMacos = 14;  // bfloat and its matrices: Metal 3.1
constexpr int kOldestFamily = 7;  // M1

std::string why_not(const DeviceLimits& limits) {
  if (limits.macos_major < kOldestMacos) {
    return str("this is macOS ", limits.macos_major, ".", limits.macos_minor, ", and Metal needs macOS ", kOldestMacos,
               " or later");
  }
  if (limits.family == 0) return str("the GPU \"", limits.name, "\" is not one of Apple; an M1 or later is needed");
  if (limits.family < kOldestFamily) {
    return str("the GPU \"", limits.name, "\" is of Apple's family ", limits.family, "; family ", kOldestFamily,
               ", an M1, or later is needed");
  }
  return "";
}

}  // namespace oss::metal
