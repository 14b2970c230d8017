// Emulated: see kernels/cuda/ptx/cp_async.cuh.
#pragma once
#include "test/emu/block.h"

namespace oss::cuda {

inline void cp_async_16(void* shared_to, const void* from, bool valid = true,
                        emu::Where where = emu::Where::current()) {
  emu::async_copy(shared_to, from, valid, where);
}
inline void cp_async_commit() { emu::async_commit(); }
template <int kPending>
void cp_async_wait() {
  emu::async_wait(kPending);
}

}  // namespace oss::cuda
