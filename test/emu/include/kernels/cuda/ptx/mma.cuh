// Emulated: see kernels/cuda/ptx/mma.cuh, which also has the fragments' layouts.
#pragma once
#include <cstdint>

#include "test/emu/block.h"

namespace oss::emu {

struct MmaOperand {
  float* d;
  const uint32_t *a, *b;
};
void mma_m16n8k16(void* const* operands, unsigned lanes, const Where&);

struct LdmatrixOperand {
  uint32_t* r;
  const void* row;
};
void ldmatrix_x4(void* const* operands, unsigned lanes, const Where&);
void ldmatrix_x4_trans(void* const* operands, unsigned lanes, const Where&);

}  // namespace oss::emu

namespace oss::cuda {

inline void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                         emu::Where where = emu::Where::current()) {
  emu::MmaOperand mine{d, a, b};
  emu::collective(emu::kWholeWarp, emu::mma_m16n8k16, &mine, where);
}

inline void ldmatrix_x4(uint32_t (&r)[4], const void* shared_row, emu::Where where = emu::Where::current()) {
  emu::check_aligned(shared_row, 16, where);
  emu::LdmatrixOperand mine{r, shared_row};
  emu::collective(emu::kWholeWarp, emu::ldmatrix_x4, &mine, where);
}

inline void ldmatrix_x4_trans(uint32_t (&r)[4], const void* shared_row, emu::Where where = emu::Where::current()) {
  emu::check_aligned(shared_row, 16, where);
  emu::LdmatrixOperand mine{r, shared_row};
  emu::collective(emu::kWholeWarp, emu::ldmatrix_x4_trans, &mine, where);
}

}  // namespace oss::cuda
