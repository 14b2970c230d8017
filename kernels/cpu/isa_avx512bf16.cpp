// Compiled with the flags of AVX-512 and -mavx512bf16.
#if defined(__GNUC__) && !defined(__clang__)
// GCC 12 wrongly warns about the deliberately undefined operand in its own intrinsics (its bug 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>

#define OSS_SIMD_AVX512
#define OSS_ISA avx512bf16
#include "kernels/cpu/bf16_rows_unit.inl"
