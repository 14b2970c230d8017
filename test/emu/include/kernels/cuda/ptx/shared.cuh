// Emulated: see kernels/cuda/ptx/shared.cuh.
#pragma once
#include "test/emu/block.h"

namespace oss::cuda {

template <typename T>
T* dynamic_shared() {
  return reinterpret_cast<T*>(emu::running_block.dynamic_shared);
}

}  // namespace oss::cuda
