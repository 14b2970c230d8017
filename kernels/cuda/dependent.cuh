// Kernels that begin while the launch before them still runs, so that their weights are under way when it ends.
//
// What the launch before writes is a parameter Earlier<T>: its address is given away for a Waited only, and a Waited is
// what wait_for_earlier() returns. launch() knows such a kernel by its parameters and asks for the early start; every
// other launch waits for all before it.
//
// Every thread calls wait_for_earlier() once, before it ends or writes to global memory. Only then does its block allow
// the next launch to begin; so whatever runs has all launches but the one before it behind it, and may read their results
// before it waits (past L1, which may remember what was there earlier). The emulator finds violations of these rules.
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
