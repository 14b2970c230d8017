// Compiled with -mavx2 -mfma -mf16c -mbmi2.
#include <immintrin.h>

#define OSS_SIMD_AVX2
#define OSS_ISA avx2
#include "kernels/cpu/ops.inl"
