// The arguments of sample.metal, and its arithmetic, for host and device.
//
// Metal has no float64, and a GPU's float32 exp is not exact enough: 201,088 weights have as many borders that a draw
// may fall between. So weights are integers, computed with integers alone. Their sums do not depend on an order, and
// every GPU draws the same token. A float32 number is handled by its bits, so denormal numbers count everywhere.
//
//   weight   2^-t in units of 2^-45, rounded: the best token weighs 2^45, and 2^18 tokens weigh 2^63 at most
//   t        (best logit - logit) / (temperature ln 2), in units of 2^-56, cut off
//
// A weight errs by half a unit and 2^-45 of itself. So a sum errs by 2^-28 of its total at the very most, and by 2^-37
// when roundings are random. The CPU's sampler sums in float64. It draws another token only when the draw falls that
// close to a border of two tokens.
#pragma once
#include "kernels/common/lang.h"

namespace oss {

OSS_CONSTANT int kSampleThreads = 256;
OSS_CONSTANT int kSampleSimdgroups = kSampleThreads / 32;
OSS_CONSTANT int kSampleThreadTokens = 8;    // consecutive ones: two loads of 16 bytes
OSS_CONSTANT int kSampleSlice = 2048;        // tokens of a threadgroup
OSS_CONSTANT int kSampleMaxVocab = 1 << 18;  // half of what a thread per slice allows; sums of weights need it

struct SampleLaunch {
  int vocab, slices;
};

// What `sample_read` finds in a slice.
struct SampleBest {
  uint64_t drawn;  // the key of the best candidate
  uint64_t raw;    // that of the best raw logit, reserved ids included
};
// What `sample_weigh` finds in a slice.
struct SampleSums {
  uint64_t drawn;  // of the candidates' weights
  uint64_t raw;    // of exp(logit - highest) over the raw logits
};

// --- the order of tokens

// False for NaN and -inf.
OSS_FN bool sample_is_usable(uint32_t bits) { return (bits & 0x7FFFFFFFu) <= 0x7F800000u && bits != 0xFF800000u; }

// Smaller is better. Equal logits have equal ranks; +inf counts as the largest float.
OSS_FN uint32_t sample_rank(uint32_t bits) {
  if (bits == 0x7F800000u) bits = 0x7F7FFFFFu;
  if (bits == 0x80000000u) bits = 0;
  return bits >> 31 != 0 ? bits : ~bits & 0x7FFFFFFFu;
}
OSS_FN uint32_t sample_bits(uint32_t rank) { return rank >> 31 != 0 ? rank : ~rank & 0x7FFFFFFFu; }

// Rank, then id: the order of all tokens of a row.
OSS_CONSTANT uint64_t kNoSampleKey = ~uint64_t(0);
OSS_FN uint64_t sample_key(uint32_t bits, int id) { return uint64_t(sample_rank(bits)) << 32 | uint32_t(id); }

// Ids of o200k_harmony without a meaning.
OSS_FN bool sample_is_reserved(int id) {
  if (id < 200000) return false;
  return !(id == 200002 || id == 200003 || (id >= 200005 && id < 200009) || id == 200012);
}

// --- integers of 64 bits

OSS_FN int sample_leading_zeros(uint32_t v) {  // v != 0
#ifdef __METAL_VERSION__
  return int(metal::clz(v));
#else
  return __builtin_clz(v);
#endif
}
OSS_FN int sample_leading_zeros(uint64_t v) {  // v != 0
  const uint32_t high = uint32_t(v >> 32);
  return high != 0 ? sample_leading_zeros(high) : 32 + sample_leading_zeros(uint32_t(v));
}

OSS_FN uint32_t sample_high(uint32_t a, uint32_t b) { return uint32_t(uint64_t(a) * b >> 32); }

// The upper half of the product.
OSS_FN uint64_t sample_high(uint64_t a, uint64_t b) {
  const uint32_t a_high = uint32_t(a >> 32), a_low = uint32_t(a), b_high = uint32_t(b >> 32), b_low = uint32_t(b);
  const uint64_t left = uint64_t(a_high) * b_low, right = uint64_t(a_low) * b_high;
  const uint64_t middle = uint64_t(uint32_t(left)) + uint32_t(right) + sample_high(a_low, b_low);
  return uint64_t(a_high) * b_high + (left >> 32) + (right >> 32) + (middle >> 32);
}

// --- floats: mantissa · 2^(exponent - 150), for denormal numbers too

OSS_FN uint32_t sample_mantissa(uint32_t bits) {
  const uint32_t fraction = bits & 0x7FFFFFu;
  return (bits >> 23 & 0xFFu) != 0 ? fraction | 0x800000u : fraction;
}
OSS_FN int sample_exponent(uint32_t bits) {
  const int exponent = int(bits >> 23 & 0xFFu);
  return exponent != 0 ? exponent : 1;
}

// --- weights

OSS_CONSTANT int kSampleUnits = 45;                      // a weight is in units of 2^-45
OSS_CONSTANT int kSampleFraction = 56;                   // t is in units of 2^-56
OSS_CONSTANT uint64_t kSampleLn2 = 0xB17217F7D1CF79ABu;  // ln 2 · 2^64

// 1 / (temperature ln 2) = factor · 2^exponent
struct SampleScale {
  uint64_t factor;  // the highest bit is set
  int exponent;
};
OSS_FN SampleScale sample_scale(float temperature) {  // > 0
  const uint32_t bits = OSS_BITS(uint32_t, temperature), small = sample_mantissa(bits);
  const int up = sample_leading_zeros(small) - 8;
  const uint64_t divisor = uint64_t(small) << up;  // of 24 bits
  // 2^95 / ln 2, divided from the highest 32 bits on
  const uint64_t first = 0xB8AA3B29u;
  const uint64_t second = (first % divisor) << 32 | 0x5C17F0BBu;
  const uint64_t third = (second % divisor) << 32 | 0xBE87FED0u;
  const uint64_t high = first / divisor, middle = second / divisor, low = third / divisor;
  // The quotient high · 2^64 + middle · 2^32 + low has 72 or 73 bits.
  const int down = 8 + (high >> 8 != 0 ? 1 : 0);
  SampleScale scale;
  scale.factor = high << (64 - down) | middle << (32 - down) | low >> down;
  scale.exponent = down - 95 - (sample_exponent(bits) - up - 150);
  return scale;
}

// t of a logit: how often its weight halves from the best one. From 256 on it is the largest number.
OSS_FN uint64_t sample_halvings(uint32_t best_rank, uint32_t rank, SampleScale scale) {
  const uint32_t best = sample_bits(best_rank), bits = sample_bits(rank);
  const int best_exponent = sample_exponent(best), own_exponent = sample_exponent(bits);
  const int exponent = best_exponent > own_exponent ? best_exponent : own_exponent;
  const int best_down = exponent - best_exponent, own_down = exponent - own_exponent;
  // Where bits are cut off, the difference is at least 2^60.
  const uint64_t a = uint64_t(sample_mantissa(best)) << 38 >> (best_down < 63 ? best_down : 63);
  const uint64_t b = uint64_t(sample_mantissa(bits)) << 38 >> (own_down < 63 ? own_down : 63);
  const uint64_t distance = (best ^ bits) >> 31 != 0 ? a + b : a > b ? a - b : b - a;
  if (distance == 0) return 0;
  const int up = sample_leading_zeros(distance);
  const uint64_t product = sample_high(distance << up, scale.factor);  // at least 2^62
  const int down = up + 188 - 64 - kSampleFraction - exponent - scale.exponent;
  if (down > 63) return 0;
  if (down >= 0) return product >> down;
  return down == -1 && product >> 63 == 0 ? product << 1 : ~uint64_t(0);
}

// The largest t at which 2^-t is at least min_p, in (0, 1]. float64 rounds 2^-t below one within half of 2^-53.
OSS_FN uint64_t sample_halvings_to(float min_p);

// 2^(-i / 128) · 2^63
OSS_CONSTANT uint64_t kSampleRoots[128] = {
    0x8000000000000000, 0x7F4F08AE3DC7C426, 0x7E9F06067A4360BA, 0x7DEFF6B672F84E24, 0x7D41D96DB915019D,
    0x7C94ACDDAEEA5D3A, 0x7BE86FB985689DDC, 0x7B3D20B6399FC237, 0x7A92BE8A92436616, 0x79E947EF1D320D2D,
    0x7940BB9E2CFFD89D, 0x78991853D684A285, 0x77F25CCDEE6D7AE6, 0x774C87CC06D1812E, 0x76A7980F6CCA15C2,
    0x76038C5B260E5EEE, 0x75606373EE921C97, 0x74BE1C203627C62B, 0x741CB5281E25EE34, 0x737C2D55770FE711,
    0x72DC8373BE41A454, 0x723DB6501B9ED447, 0x719FC4B95F452D29, 0x7102AD7FFF41E9B4, 0x70666F76154A7089,
    0x6FCB096F5C782210, 0x6F307A412F074892, 0x6E96C0C284192610, 0x6DFDDBCBED791BAB, 0x6D65CA379564E639,
    0x6CCE8AE13C57EBDB, 0x6C381CA636D99642, 0x6BA27E656B4EB57A, 0x6B0DAEFF4FCDE703, 0x6A79AD55E7F6FD10,
    0x69E6784CC2CD61BD, 0x69540EC8F895722D, 0x68C26FB128B4CD63, 0x683199ED779592CA, 0x67A18C678C8C8C61,
    0x6712460A8FC24072, 0x6683C5C3281EE6E9, 0x65F60A7F79393E2E, 0x6569132F21483BA7, 0x64DCDEC3371793D1,
    0x64516C2E47FF1623, 0x63C6BA6455DCD8AE, 0x633CC85AD5122FBD, 0x62B39508AA836D6F, 0x622B1F66299A6599,
    0x61A3666D124BB204, 0x611C69188F1EB339, 0x6096266533384A2B, 0x60109D50F86846D8, 0x5F8BCCDB3D398841,
    0x5F07B404C304C9F1, 0x5E8451CFAC061B5F, 0x5E01A53F7974FD86, 0x5D7FAD59099F22FE, 0x5CFE69229605CEF5,
    0x5C7DD7A3B17DCF75, 0x5BFDF7E546520F3E, 0x5B7EC8F19468BBC9, 0x5B0049D42F6AFBB6, 0x5A827999FCEF3242,
    0x5A05575132A5CC20, 0x5988E20954889245, 0x590D18D3330C7F1E, 0x5891FAC0E95612C8, 0x581786E5DB7022C2,
    0x579DBC56B48521BA, 0x57249A29651ADC07, 0x56AC1F752150A563, 0x56344B525F1FF495, 0x55BD1CDAD49F699C,
    0x5546932976483B15, 0x54D0AD5A753E077C, 0x545B6A8B3D990704, 0x53E6C9DA74B29AB5, 0x5372CA67F774358F,
    0x52FF6B54D8A89C75, 0x528CABC35F4F799D, 0x521A8AD704F3404F, 0x51A907B474015DC9, 0x513821818624B40C,
    0x50C7D76542A25B72, 0x50582887DCB8A7E1, 0x4FE91412B2006E83, 0x4F7A993048D088D7, 0x4F0CB70C4EA39210,
    0x4E9F6CD3967FDBA8, 0x4E32B9B417619617, 0x4DC69CDCEAA72A9C, 0x4D5B157E4A7FC325, 0x4CF022C9905BFD32,
    0x4C85C3F13360C4D5, 0x4C1BF828C6DC54B8, 0x4BB2BEA4F8BD5847, 0x4B4A169B900C2D00, 0x4AE1FF436B663FF7,
    0x4A7A77D47F7B84B1, 0x4A137F87D58E025B, 0x49AD159789F37496, 0x4947393ECA98FCD6, 0x48E1E9B9D588E19B,
    0x487D2645F7725895, 0x4818EE218A3358EE, 0x47B5408BF36472E2, 0x47521CC5A2E6A9E0, 0x46EF821011734E6B,
    0x468D6FADBF2DD4F3, 0x462BE4E23237A6EF, 0x45CAE0F1F545EB73, 0x456A632296394492, 0x450A6ABAA4B77ECD,
    0x44AAF701B0C72FEE, 0x444C0740496D4294, 0x43ED9ABFFB4C6BC9, 0x438FB0CB4F468808, 0x433248ADC91FDD02,
    0x42D561B3E6243D8A, 0x4278FB2B1BCE0D15, 0x421D1461D66F2023, 0x41C1ACA777DB771B, 0x4166C34C5615D0EC,
    0x410C57A1B9FE12F6, 0x40B268F9DE0183BA, 0x4058F6A7ECCCD5B6,
};

// 2^-t as a weight.
OSS_FN uint64_t sample_weight(uint64_t t) {
  const int halvings = int(t >> kSampleFraction);
  if (halvings > kSampleUnits) return 0;
  const uint64_t root = kSampleRoots[t >> (kSampleFraction - 7) & 127];
  // z = rest ln 2 < 2^-7.5;  e^-z = 1 - z + z² (1/2 - z/6 + z²/24 - z³/120)
  const uint64_t rest = t << 15;                     // units of 2^-71; the leading bits fall out
  const uint64_t z = sample_high(rest, kSampleLn2);  // units of 2^-71
  const uint32_t z1 = uint32_t(z >> 32);             // 2^-39
  const uint32_t z2 = sample_high(z1, z1);           // 2^-46
  const uint32_t z3 = sample_high(z2, z1);           // 2^-53
  const uint32_t by_6 = sample_high(z1, 5592405u), by_24 = sample_high(z2, 10923u), by_120 = sample_high(z3, 17u);
  const uint32_t series = 0x80000000u - by_6 + by_24 - by_120;  // 2^-32
  const uint64_t power = (uint64_t(1) << 63) - (z >> 8) + (uint64_t(z2) * series >> 15);
  const uint64_t weight = sample_high(root, power);  // 2^-62
  const int down = 62 - kSampleUnits + halvings;
  return (weight + (uint64_t(1) << (down - 1))) >> down;
}

// log2(v) in units of 2^-56, cut off; v != 0. Squaring yields a bit of the fraction at a time.
OSS_FN uint64_t sample_log2(uint64_t v) {
  const int up = sample_leading_zeros(v);
  uint64_t x = v << up, log = uint64_t(63 - up);
  for (int bit = 0; bit < kSampleFraction; ++bit) {
    x = sample_high(x, x);
    const uint64_t one = x >> 63;
    log = log << 1 | one;
    if (one == 0) x <<= 1;
  }
  return log;
}

OSS_FN uint64_t sample_halvings_to(float min_p) {
  const uint32_t bits = OSS_BITS(uint32_t, min_p);
  const int down = 150 - sample_exponent(bits);  // min_p = mantissa · 2^-down
  return (uint64_t(down) << kSampleFraction) - sample_log2(sample_mantissa(bits)) + 5u;
}

// ln of a sum of weights that is at least one.
OSS_FN float sample_ln(uint64_t sum) {
  const uint64_t log2 = sample_log2(sum) - (uint64_t(kSampleUnits) << kSampleFraction);
  return float(sample_high(log2, kSampleLn2)) / 72057594037927936.0f;  // 2^56
}

// The smallest sum that is at least top_p · total, and not 0. top_p in (0, 1).
OSS_FN uint64_t sample_fraction(uint64_t total, float top_p) {
  const uint32_t bits = OSS_BITS(uint32_t, top_p);
  const uint64_t factor = uint64_t(sample_mantissa(bits)) << 40;
  const int down = 126 - sample_exponent(bits);  // top_p = factor · 2^-64 · 2^-down
  const uint64_t high = sample_high(total, factor);
  if (down > 63) return 1;
  const uint64_t whole = high >> down;
  const bool is_whole = total * factor == 0 && whole << down == high;
  return is_whole && whole != 0 ? whole : whole + 1;
}

}  // namespace oss
