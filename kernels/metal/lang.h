// What our kernels write beside the Metal Shading Language's standard library. The emulator has another file of this
// name (test/emu/metal/include), where a pointer knows its buffer and each access is checked.
//
// A kernel's parameters are, in this order: one `constant` struct of arguments at [[buffer(0)]], the buffers from
// [[buffer(1)]] on without a gap, and OSS_POSITION. Threadgroup arrays are declared in the kernel function itself, as
// the language demands, and passed on as ThreadgroupPtr. OSS_KERNEL(name) follows each kernel.
#pragma once
#include <metal_stdlib>

using namespace metal;

// The address space is part of the type. There are no null pointers: a flag in the arguments says what is unused, and
// any buffer is bound in its place.
template <typename T>
using DevicePtr = device T*;
template <typename T>
using ThreadgroupPtr = threadgroup T*;

// The same memory as elements of another type, whose alignment it must have.
template <typename V, typename T>
static inline DevicePtr<const V> as_const(DevicePtr<T> at) {
  return reinterpret_cast<device const V*>(at);
}
template <typename V, typename T>
static inline DevicePtr<V> as(DevicePtr<T> at) {
  return reinterpret_cast<device V*>(at);
}
template <typename V, typename T>
static inline ThreadgroupPtr<V> as(ThreadgroupPtr<T> at) {
  return reinterpret_cast<threadgroup V*>(at);
}

#define OSS_THREADGROUP(type, name, count) threadgroup type name[count]

// The place of a thread: its threadgroup in the grid, its index there, its lane of 32, and its simdgroup there.
#define OSS_POSITION                                                                        \
  uint3 group [[threadgroup_position_in_grid]], uint index [[thread_index_in_threadgroup]], \
      uint lane [[thread_index_in_simdgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]]

#define OSS_KERNEL(name)
