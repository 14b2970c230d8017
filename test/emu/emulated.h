// The emulated device in tests of the emulator itself.
#pragma once
#include <functional>
#include <string>

#include "test/emu/machine.h"
#include "test/kernels/cuda/support.h"

namespace oss::test {

// Runs `body` on the emulated device with threads in the order of `seed`; then restores the machine.
inline void with_emulated(const std::function<void(CudaDevice&)>& body, unsigned seed = 0) {
  emu::reset();
  emu::set_schedule_seed(seed);
  {
    CudaDevice device(*gptoss_cuda_module(), "emulated");
    body(device);
  }
  emu::reset();
}

inline void check_contains(const std::string& text, const std::string& part) {
  if (text.find(part) == std::string::npos) fail(__FILE__, __LINE__, str("expected \"", part, "\" in \"", text, "\""));
}

}  // namespace oss::test
