// The dynamic shared memory of a block, with the size that its launch requested, aligned to 128.
#pragma once

namespace oss::cuda {

template <typename T>
__device__ __forceinline__ T* dynamic_shared() {
  extern __shared__ __align__(128) unsigned char oss_dynamic_shared[];
  return reinterpret_cast<T*>(oss_dynamic_shared);
}

}  // namespace oss::cuda
