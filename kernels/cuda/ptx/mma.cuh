// Warp-wide matrix instructions of sm_80: fragments from shared memory, and D[16, 8] += A[16, 16] · B[16, 8].
//
// Lane l has group g = l / 4 and t = l % 4. Of A (row-major) it holds a[0] = (g, 2t..2t+1), a[1] = (g + 8, 2t..),
// a[2] = (g, 2t + 8..), a[3] = (g + 8, 2t + 8..); of B (column-major) b[0] = (2t..2t+1, g), b[1] = (2t + 8.., g); of D
// d[0], d[1] = (g, 2t), (g, 2t + 1) and d[2], d[3] = (g + 8, ...). Two bf16 share a register, the lower index below.
// [PTX ISA, "Matrix Fragments for mma.m16n8k16 with floating point type"]
#pragma once
#include <stdint.h>

namespace oss::cuda {

// All 32 lanes must call. Products are exact, sums float32.
__device__ __forceinline__ void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Four 8 x 8 matrices of 16-bit elements. Lane l gives the address of row l % 8 of matrix l / 8 (16 bytes, aligned) and
// receives in r[m] the elements (g, 2t), (g, 2t + 1) of matrix m.
__device__ __forceinline__ void ldmatrix_x4(uint32_t (&r)[4], const void* shared_row) {
  const uint32_t from = uint32_t(__cvta_generic_to_shared(shared_row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(from)
               : "memory");
}

// The same with each matrix transposed: r[m] holds the elements (2t, g), (2t + 1, g).
__device__ __forceinline__ void ldmatrix_x4_trans(uint32_t (&r)[4], const void* shared_row) {
  const uint32_t from = uint32_t(__cvta_generic_to_shared(shared_row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(from)
               : "memory");
}

}  // namespace oss::cuda
