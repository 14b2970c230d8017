// Needs no flags, because every 64-bit ARM CPU has NEON.
#include <arm_neon.h>

#define OSS_SIMD_NEON
#define OSS_ISA neon
#include "kernels/cpu/ops.inl"
