// Emulated: see kernels/cuda/ptx/dependent.cuh.
#pragma once
#include "test/emu/block.h"

namespace oss::cuda {

inline void grid_dependency_wait(emu::Where where = emu::Where::current()) { emu::dependency_wait(where); }
inline void grid_dependency_launch(emu::Where where = emu::Where::current()) { emu::dependency_launch(where); }

}  // namespace oss::cuda
