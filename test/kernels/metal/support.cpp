#include "test/kernels/metal/support.h"

#include "test/emu/metal/device.h"

namespace oss::test {

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

}  // namespace oss::test
