// Every 64-bit ARM has NEON: no flags of its own.
#include <arm_neon.h>

#define OSS_SIMD_NEON
#define OSS_ISA neon
#include "kernels/cpu/ops.inl"
