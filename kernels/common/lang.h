// The language that host C++, CUDA and MSL share: integers, floats, free functions, plain structs. No pointers (MSL
// wants an address space on each), no globals (MSL wants `constant`), no double, no std.
//
// OSS_FN is static so that every file has its own copy: an inline function compiled once with -mavx512f can otherwise
// become the one that the linker keeps for everyone, and an older machine crashes.
#pragma once
#include <stdint.h>

#ifdef __CUDACC__
#define OSS_FN static __host__ __device__ __forceinline__
#else
#define OSS_FN static inline
#endif
#define OSS_BITS(type, value) __builtin_bit_cast(type, value)
