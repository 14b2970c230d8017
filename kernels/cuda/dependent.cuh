// Kernels that begin while the previous launch still runs, so that their weights are in flight when it ends.
//
// A parameter Earlier<T> holds an address that the previous launch writes. Only a Waited, which wait_for_earlier()
// returns, gives access to it. launch() recognises such a kernel by its parameters and requests the early start; every
// other launch waits for all earlier ones.
//
// Every thread calls wait_for_earlier() once, before it ends or writes to global memory. Only then does its block allow
// the next launch to begin. So when a kernel runs, all launches but the previous one have ended, and it may read their
// results before it waits (past L1, which may hold stale lines). The emulator detects violations of these rules.
#pragma once
#include "kernels/cuda/ptx/dependent.cuh"

namespace oss::cuda {

class Waited {
  __device__ __forceinline__ Waited() {}
  friend __device__ Waited wait_for_earlier();
};

__device__ __forceinline__ Waited wait_for_earlier() {
  grid_dependency_wait();
  grid_dependency_launch();
  return Waited();
}

template <typename T>
class Earlier {
 public:
  __host__ __device__ __forceinline__ Earlier(T* at) : at_(at) {}
  __device__ __forceinline__ T* operator()(const Waited&) const { return at_; }

 private:
  T* at_;
};

template <typename T>
constexpr bool kIsEarlier = false;
template <typename T>
constexpr bool kIsEarlier<Earlier<T>> = true;

}  // namespace oss::cuda
