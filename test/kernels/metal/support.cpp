#include "test/kernels/metal/support.h"

#include <cstdio>

#ifdef OSS_EMULATED_METAL
#include "test/emu/metal/device.h"
#endif

namespace oss::test {

#ifdef OSS_EMULATED_METAL

// Three orders of the threads.
void for_each_metal_device(const std::function<void(MetalDevice&)>& body) {
  for (const unsigned seed : {0u, 1u, 2u}) {
    emu::set_metal_machine({});
    emu::set_metal_seed(seed);
    {
      MetalDevice emulated(emu::make_metal_device(), str("emulated, order ", seed));
      body(emulated);
    }
    emu::set_metal_machine({});
  }
}

bool drop_metal_barrier(int n) {
  emu::drop_metal_barrier(n);
  return true;
}

#else

void for_each_metal_device(const std::function<void(MetalDevice&)>& body) {
  // Once, because it compiles each kernel at its first use; and until the end of the process.
  static const metal::Found& found = *new metal::Found(metal::find_device());
  if (found.device == nullptr) {
    if (gpu_only) throw Error(Code::kUnsupported, str("there is no Metal GPU here: ", found.reason));
    std::printf("not run, because there is no Metal GPU here: %s\n", found.reason.c_str());
    return;
  }
  MetalDevice device(found.device, found.device->limits().name);
  body(device);
}

bool drop_metal_barrier(int) { return false; }

#endif

}  // namespace oss::test
