// MXFP4 in registers: two words of 16 codes <-> eight pairs of bf16, by moving bits.
//
// Sign, exponent and mantissa of E2M1 move to the sign, the low two exponent bits and the highest mantissa bit of bf16.
// This gives value · 2^-126, also for the subnormal ½. One packed product with 2^126 · scale, a power of two, gives the
// value: exact, because a code has two significant bits.
//
// A pair takes 8 bits of a word, four in each half: {15, 8, 7, 6} and rotations of them. Rotations by 0, 4 and 10 do
// not overlap and leave {10, 9, 1, 0}. These bits of two words, combined, form two more such sets, for rotations by 6
// and 12. So 16 codes cost 17 shifts and logical operations and 8 products, and every bit is used.
//
// A scale is kept as e + 126, the exponent field of 2^126 · 2^(e - 127) in bf16: e <= kMaxScaleByte leaves it finite.
#pragma once
#include <stdint.h>

#include "kernels/cuda/ptx/convert.cuh"

namespace oss::cuda {

constexpr uint32_t kPairBits = 0x81C081C0u, kLeftBits = 0x06030603u;

// Two words of one lane: `first` and `second` are its fragments of two k-steps, like a[0..3] of ptx/mma.cuh.
struct CodeWords {
  uint32_t first, second;
};
struct CodePairs {
  uint32_t first[4], second[4];
};

__device__ __forceinline__ uint32_t rotate_left(uint32_t word, int bits) { return word << bits | word >> (32 - bits); }

// The pairs are values · 2^-126.
__device__ __forceinline__ CodePairs unpack_codes(CodeWords w) {
  const uint32_t left = select_bits(kLeftBits, w.first, w.second << 2);
  return {{w.first & kPairBits, w.first << 4 & kPairBits, rotate_left(w.first, 10) & kPairBits, left << 6 & kPairBits},
          {w.second & kPairBits, w.second << 4 & kPairBits, rotate_left(w.second, 10) & kPairBits,
           rotate_left(left, 12) & kPairBits}};
}

// The inverse, for pairs whose bits outside kPairBits are 0.
__device__ __forceinline__ CodeWords pack_codes(const CodePairs& p) {
  const uint32_t left = p.first[3] >> 6 | rotate_left(p.second[3], 20);
  return {p.first[0] | p.first[1] >> 4 | rotate_left(p.first[2], 22) | (left & kLeftBits),
          p.second[0] | p.second[1] >> 4 | rotate_left(p.second[2], 22) | (left & ~kLeftBits) >> 2};
}

// Codes of two values as a pair, `low` first.
__device__ __forceinline__ uint32_t pair_of_codes(uint32_t low, uint32_t high) {
  const auto place = [](uint32_t code) { return (code & 8u) << 12 | (code & 7u) << 6; };
  return place(low) | place(high) << 16;
}

// A lane's factors for one block of 32 columns: the factor of row g in the lower half, of row g + 8 in the upper.
// `word` has a byte for blocks 0 and 1 of row g, then of row g + 8.
__device__ __forceinline__ uint32_t unpack_scales(uint32_t word, int block) {
  return (block == 0 ? word << 7 : word >> 1) & 0x7F807F80u;
}
__device__ __forceinline__ uint32_t packed_scale(uint32_t scale_byte) { return (scale_byte + 126u) & 0xFFu; }

// The first operand of mma.m16n8k16 for two k-steps.
struct WeightFragments {
  uint32_t first[4], second[4];
};
__device__ __forceinline__ WeightFragments dequantize(CodeWords words, uint32_t factors) {
  const CodePairs codes = unpack_codes(words);
  WeightFragments w;
#pragma unroll
  for (int i = 0; i < 4; i += 2) {
    w.first[i] = scale_bf16x2<kLowHalf>(codes.first[i], factors);
    w.second[i] = scale_bf16x2<kLowHalf>(codes.second[i], factors);
    w.first[i + 1] = scale_bf16x2<kHighHalf>(codes.first[i + 1], factors);
    w.second[i + 1] = scale_bf16x2<kHighHalf>(codes.second[i + 1], factors);
  }
  return w;
}

}  // namespace oss::cuda
