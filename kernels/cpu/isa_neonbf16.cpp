// Compiled with -march=armv8.2-a+bf16.
#include <arm_neon.h>

#define OSS_SIMD_NEON
#define OSS_ISA neonbf16
#include "kernels/cpu/bf16_rows_unit.inl"
