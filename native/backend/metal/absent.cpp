// find_device() of a build without Metal: on other systems, and where Apple's Metal compiler is missing.
#include "native/backend/metal/device.h"

#ifndef OSS_METAL_ABSENT
#error "the build says why it has no Metal"
#endif

oss::metal::Found oss::metal::find_device() { return {nullptr, "not in this build (" OSS_METAL_ABSENT ")"}; }
