#include "native/backend/metal/metal_memory.h"

#include <algorithm>

#include "native/base/error.h"
#include "native/base/str.h"

namespace oss {

DeviceMemory metal_memory(const metal::Device& device) {
  const metal::DeviceLimits& limits = device.limits();
  // macOS lets the GPU take more of the machine's memory when its owner says so. Two gigabytes stay for the system.
  const uint64_t most_mb = (limits.memory_bytes >> 20) - std::min<uint64_t>(limits.memory_bytes >> 20, 2048);
  return {.free_bytes = limits.working_set_bytes - std::min(limits.working_set_bytes, device.allocated_bytes()),
          .total_bytes = limits.working_set_bytes,
          .dedicated = true,
          .shared = true,
          .why = "of the memory that macOS lets its GPU use",
          .most_bytes = most_mb << 20,
          .remedy = str("let macOS give its GPU more: sudo sysctl iogpu.wired_limit_mb=", most_mb)};
}

Buffer allocate_metal(const std::shared_ptr<metal::Device>& device, size_t bytes, const char* what) {
  if (bytes == 0) return {};
  if (bytes > device->limits().buffer_bytes) {
    throw Error(Code::kOutOfMemory, str(device->limits().name, " takes buffers of ", device->limits().buffer_bytes,
                                        " bytes, not of the ", bytes, " for ", what));
  }
  void* data = device->allocate(bytes);
  if (data == nullptr) {
    const DeviceMemory now = metal_memory(*device);
    throw Error(Code::kOutOfMemory, str(device->limits().name, " has ", now.free_bytes, " bytes free of ",
                                        now.total_bytes, ", not the ", bytes, " for ", what));
  }
  return Buffer(data, bytes, [device](void* memory, size_t) { device->release(memory); });
}

}  // namespace oss
