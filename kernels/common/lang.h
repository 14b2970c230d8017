// The common subset of host C++, CUDA and MSL: integers, floats, free functions, plain structs. It has no pointers,
// because MSL requires an address space on each, and no globals, because MSL requires `constant`. It has no double and
// no std.
//
// OSS_FN is static so that every file has its own copy. Otherwise the linker could keep one inline function that was
// compiled with -mavx512f for all files, and an older machine would crash.
#pragma once
#include <stdint.h>

#ifdef __CUDACC__
#define OSS_FN static __host__ __device__ __forceinline__
#else
#define OSS_FN static inline
#endif
#define OSS_BITS(type, value) __builtin_bit_cast(type, value)
