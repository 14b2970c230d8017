// Small conversions and functions that are one instruction on the device.
#pragma once
#include <stdint.h>

namespace oss::cuda {

// Two floats to two bf16 in one register, `low` in the lower half; to nearest, ties to even.
__device__ __forceinline__ uint32_t pack_bf16x2(float low, float high) {
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;\n" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}

__device__ __forceinline__ float low_bf16(uint32_t pair) { return __uint_as_float(pair << 16); }
__device__ __forceinline__ float high_bf16(uint32_t pair) { return __uint_as_float(pair & 0xFFFF0000u); }

enum Half { kLowHalf, kHighHalf };
// A pair of bf16 times one of the two in `factors`, rounded once; subnormal operands are kept. The instruction takes
// either half for both. On sm_80 the product is an fma with -0.
template <Half kHalf>
__device__ __forceinline__ uint32_t scale_bf16x2(uint32_t pair, uint32_t factors) {
  uint32_t product;
  if constexpr (kHalf == kLowHalf) {
    asm("{.reg .b16 low, high; .reg .b32 both; mov.b32 {low, high}, %2; mov.b32 both, {low, low};\n"
        "fma.rn.bf16x2 %0, %1, both, %3;}\n"
        : "=r"(product)
        : "r"(pair), "r"(factors), "r"(0x80008000u));
  } else {
    asm("{.reg .b16 low, high; .reg .b32 both; mov.b32 {low, high}, %2; mov.b32 both, {high, high};\n"
        "fma.rn.bf16x2 %0, %1, both, %3;}\n"
        : "=r"(product)
        : "r"(pair), "r"(factors), "r"(0x80008000u));
  }
  return product;
}

// The mask's bits from a, the others from b: one instruction; for bits that it can prove zero the compiler makes two.
__device__ __forceinline__ uint32_t select_bits(uint32_t mask, uint32_t a, uint32_t b) {
  constexpr unsigned kA = 0xF0, kMask = 0xCC, kB = 0xAA;  // the table inputs of the instruction for its three operands
  uint32_t selected;
  asm("lop3.b32 %0, %1, %2, %3, %4;\n" : "=r"(selected) : "r"(a), "r"(mask), "r"(b), "n"((kA & kMask) | (kB & ~kMask)));
  return selected;
}

// 2^x, within 2 units in the last place; 2^-inf = 0.
__device__ __forceinline__ float exp2_approx(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;\n" : "=f"(y) : "f"(x));
  return y;
}

}  // namespace oss::cuda
