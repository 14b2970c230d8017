// In place of metal_device.mm on systems other than macOS.
#include "native/backend/metal/device.h"

namespace oss::metal {

Found find_device() { return {nullptr, "it is for macOS on Apple silicon"}; }

}  // namespace oss::metal
