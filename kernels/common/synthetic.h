// Weights without a file: each 8 bytes of a synthetic tensor are a function of the tensor's key and their position. So
// every device makes the same bytes in any order, any part alone, at the speed of its memory.
//
// The random bits are SplitMix64 (Steele, Lea, Flood 2014) at a position: two rounds of multiply and xor-shift over key
// + position · γ. As a generator it passes BigCrush. It costs two multiplications for 8 bytes and needs no state. The
// values derived from the bits use integers and at most one float product, exactly rounded, so all devices agree in
// every bit.
//
// Bytes are in file order: byte b of a tensor is byte b % 8 of word b / 8, the lowest first.
#pragma once
#include "kernels/common/dtype.h"
#include "kernels/common/lang.h"

namespace oss {

enum SyntheticKind {
  kSyntheticNormal = 0,  // bf16, nearly normal, mean 0, standard deviation `scale`
  kSyntheticNorm = 1,    // the same around 1: weights of a norm
  kSyntheticCodes = 2,   // MXFP4 values: two uniform codes per byte; `scale` is ignored
  // MXFP4 scales: exponents e - 1, e, e + 1, mixed so that codes times scales have an rms of `scale`
  kSyntheticScales = 3,
};

OSS_FN constexpr int synthetic_element_bytes(int kind) { return kind <= kSyntheticNorm ? 2 : 1; }

OSS_FN constexpr uint64_t synthetic_mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}
OSS_FN constexpr uint64_t synthetic_bits(uint64_t key, uint64_t word) {
  return synthetic_mix(key + (word + 1u) * 0x9E3779B97F4A7C15u);
}

// Four numbers from 64 bits. Each is the sum of all eight bytes with different signs, the rows of a Hadamard matrix, so
// they are uncorrelated. They lie in [-1020, 1020] and are nearly normal, with kurtosis 2.85.
struct SyntheticFour {
  int32_t x, y, z, w;
};
OSS_CONSTANT float kSyntheticSigma = 209.02153f;  // sqrt(8 · (256² - 1) / 12)

OSS_FN constexpr SyntheticFour synthetic_four(uint64_t bits) {
  const uint64_t sums = (bits & 0x00FF00FF00FF00FFu) + ((bits >> 8) & 0x00FF00FF00FF00FFu);  // four, in [0, 510]
  const int32_t a = int32_t(sums & 0xFFFFu), b = int32_t((sums >> 16) & 0xFFFFu);
  const int32_t c = int32_t((sums >> 32) & 0xFFFFu), d = int32_t(sums >> 48);
  return {a + b + c + d - 1020, a - b + c - d, a + b - c - d, a - b - c + d};
}

OSS_FN constexpr uint64_t synthetic_pack(uint16_t x, uint16_t y, uint16_t z, uint16_t w) {
  return uint64_t(x) | uint64_t(y) << 16 | uint64_t(z) << 32 | uint64_t(w) << 48;
}

OSS_FN constexpr uint64_t synthetic_normal_word(uint64_t key, uint64_t word, float scale) {
  const SyntheticFour n = synthetic_four(synthetic_bits(key, word));
  const float step = scale * (1.0f / kSyntheticSigma);
  return synthetic_pack(f32_to_bf16(float(n.x) * step), f32_to_bf16(float(n.y) * step), f32_to_bf16(float(n.z) * step),
                        f32_to_bf16(float(n.w) * step));
}

// 1 + n · step in units of 2^-20. Integers, because some device might contract a float sum with its product.
OSS_FN constexpr uint16_t synthetic_near_one(int32_t n, int32_t step) {
  return f32_to_bf16(float(1048576 + n * step) * (1.0f / 1048576.0f));
}
OSS_FN constexpr uint64_t synthetic_norm_word(uint64_t key, uint64_t word, float scale) {
  const SyntheticFour n = synthetic_four(synthetic_bits(key, word));
  const int32_t step = int32_t(scale * (1048576.0f / kSyntheticSigma));
  return synthetic_pack(synthetic_near_one(n.x, step), synthetic_near_one(n.y, step), synthetic_near_one(n.z, step),
                        synthetic_near_one(n.w, step));
}

// One scale byte from 8 random bits. It is e, plus one if the low six bits are below `above` (of 64), minus one if the
// high two are zero (one of four). Codes have a mean square of 8.5625, and the high bits multiply it by 3/4 + 1/16.
OSS_FN constexpr uint32_t synthetic_scale_byte(uint32_t bits, uint32_t e, uint32_t above) {
  return e + ((bits & 63u) < above ? 1u : 0u) - (bits < 64u ? 1u : 0u);
}
OSS_FN constexpr uint64_t synthetic_scales_word(uint64_t key, uint64_t word, float scale) {
  // scale / sqrt(8.5625 · 0.8125) = m · 2^(e - 127) with m in [1, 2): m² = 1 + 3 · above / 64.
  const uint32_t wanted = OSS_BITS(uint32_t, scale * (1.0f / 2.6376185f));
  const uint32_t e = wanted >> 23, m = 4096u + ((wanted >> 11) & 4095u);  // of 12 bits
  const uint32_t above = ((m * m - (1u << 24)) + 393216u) / 786432u;      // 3 · 2^24 / 64, to nearest
  const uint64_t bits = synthetic_bits(key, word);
  uint64_t out = 0;
  for (uint32_t byte = 0; byte < 64u; byte += 8u) {
    out |= uint64_t(synthetic_scale_byte(uint32_t(bits >> byte) & 255u, e, above)) << byte;
  }
  return out;
}

OSS_FN constexpr uint64_t synthetic_word(int kind, uint64_t key, uint64_t word, float scale) {
  switch (kind) {
    case kSyntheticNormal:
      return synthetic_normal_word(key, word, scale);
    case kSyntheticNorm:
      return synthetic_norm_word(key, word, scale);
    case kSyntheticScales:
      return synthetic_scales_word(key, word, scale);
    default:
      return synthetic_bits(key, word);
  }
}

}  // namespace oss
