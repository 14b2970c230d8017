// Starts CUDA kernels; all launches go through this file.
#pragma once
#include <cuda_runtime.h>

#include <mutex>
#include <utility>

#include "kernels/cuda/dependent.cuh"
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/plan.h"
#include "kernels/cuda/ptx/shared.cuh"

namespace oss::cuda {

struct Launch {
  dim3 grid, block;
  size_t shared = 0;  // bytes of dynamic shared memory
  Stream stream = nullptr;
};

// Whether `kernel`, as compiled for this device, waits for the previous launch, and the driver can record that.
inline bool can_start_early(const void* kernel) {
  static const int driver = [] {
    int version = 0;
    return cudaDriverGetVersion(&version) == cudaSuccess ? version : 0;
  }();
  constexpr int kRecordsEarlyStarts = 12030;
  cudaFuncAttributes attributes{};
  return driver >= kRecordsEarlyStarts && cudaFuncGetAttributes(&attributes, kernel) == cudaSuccess &&
         attributes.ptxVersion >= 90;
}

// Allows the kernel this much dynamic shared memory. The setting holds for the device and all threads: another thread's
// engine may be about to launch the same kernel with more, so it is only ever raised.
inline cudaError_t allow_shared(const void* kernel, size_t bytes) {
  constexpr size_t kWithoutAsking = 48 << 10;
  if (bytes <= kWithoutAsking) return cudaSuccess;
  static std::mutex raising;
  const std::lock_guard lock(raising);
  cudaFuncAttributes attributes{};
  const cudaError_t unknown = cudaFuncGetAttributes(&attributes, kernel);
  if (unknown != cudaSuccess || size_t(attributes.maxDynamicSharedSizeBytes) >= bytes) return unknown;
  return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(bytes));
}

// Starts `kernel` and returns whether it started. A grid without blocks is a step without work, not an error.
template <typename... Params, typename... Args>
Status launch(void (*kernel)(Params...), const Launch& how, Args&&... args) {
  if (how.grid.x == 0 || how.grid.y == 0 || how.grid.z == 0) return cudaSuccess;
  const cudaError_t refused = allow_shared(reinterpret_cast<const void*>(kernel), how.shared);
  if (refused != cudaSuccess) return refused;
  cudaLaunchConfig_t config{};
  config.gridDim = how.grid;
  config.blockDim = how.block;
  config.dynamicSmemBytes = how.shared;
  config.stream = static_cast<cudaStream_t>(how.stream);
  cudaLaunchAttribute early{};
  if constexpr ((kIsEarlier<Params> || ...)) {
    early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    early.val.programmaticStreamSerializationAllowed = 1;
    config.attrs = &early;
    config.numAttrs = can_start_early(reinterpret_cast<const void*>(kernel)) ? 1 : 0;
    // All such kernels use the same division of L1: a multiprocessor changes the division only when it is empty.
    const cudaError_t undivided =
        cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributePreferredSharedMemoryCarveout,
                             cudaSharedmemCarveoutMaxShared);
    if (undivided != cudaSuccess) return undivided;
  }
  return cudaLaunchKernelEx(&config, kernel, static_cast<Params>(std::forward<Args>(args))...);
}

// Resources of the current device; zeros if the query fails.
inline Resources resources() {
  int device = 0, multiprocessors = 0, shared_bytes = 0;
  if (cudaGetDevice(&device) != cudaSuccess ||
      cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device) != cudaSuccess ||
      cudaDeviceGetAttribute(&shared_bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device) != cudaSuccess)
    return {};
  return {multiprocessors, size_t(shared_bytes)};
}

constexpr int divide_up(int n, int d) { return (n + d - 1) / d; }

}  // namespace oss::cuda
