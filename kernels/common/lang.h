// The common subset of host C++, CUDA and MSL: integers, floats, free functions, plain structs. It has no pointers,
// because MSL requires an address space on each. It has no double and no std. Constants are OSS_CONSTANT, because MSL
// requires `constant` for globals.
//
// OSS_FN is static so that every file has its own copy. Otherwise the linker could keep one inline function that was
// compiled with -mavx512f for all files, and an older machine would crash.
#pragma once
#ifdef __METAL_VERSION__
#include <metal_stdlib>
#define OSS_CONSTANT constant constexpr const
#define OSS_BITS(type, value) as_type<type>(value)
#else
#include <stdint.h>
#define OSS_CONSTANT constexpr
#define OSS_BITS(type, value) __builtin_bit_cast(type, value)
#endif

#ifdef __CUDACC__
#define OSS_FN static __host__ __device__ __forceinline__
#else
#define OSS_FN static inline
#endif

// For functions that use OSS_BITS: Metal does not say that as_type is a constant expression, and refuses a constexpr
// function that has none.
#ifdef __METAL_VERSION__
#define OSS_BITS_FN OSS_FN
#else
#define OSS_BITS_FN OSS_FN constexpr
#endif
