// Prints what a Metal GPU is, as a line of JSON. bench/metal/check.mjs runs it.
//
//   {"chip":"Apple M4 Pro","family":9,"macos":"15.1",…}
#include <cinttypes>
#include <cstdio>
#include <exception>

#include "native/backend/metal/device.h"
#include "native/base/error.h"
#include "native/base/str.h"

int main() {
  try {
    const oss::metal::Found found = oss::metal::find_device();
    if (found.device == nullptr)
      throw oss::Error(oss::Code::kUnsupported, oss::str("there is no Metal GPU: ", found.reason));
    const oss::metal::DeviceLimits& of = found.device->limits();
    std::printf("{\"chip\":\"%s\",\"family\":%d,\"macos\":\"%d.%d\",\"workingSetBytes\":%" PRIu64
                ",\"bufferBytes\":%" PRIu64 ",\"memoryBytes\":%" PRIu64 ",\"threadgroupBytes\":%d}\n",
                of.name.c_str(), of.family, of.macos_major, of.macos_minor, of.working_set_bytes, of.buffer_bytes,
                of.memory_bytes, of.threadgroup_bytes);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
