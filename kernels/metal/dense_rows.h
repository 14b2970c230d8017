// The matrices of the dense kernels: few_rows.h and dense_tiles.h read either kind with the same loops.
#pragma once
#include "kernels/common/q8.h"
#include "kernels/metal/lang.h"

namespace oss {

// bf16 [outputs, in], aligned to 8 bytes.
struct Bf16Rows {
  enum { kFours = 1 };  // few_rows(): a thread takes so many times four columns in a row, which are 8 bytes
  DevicePtr<const ushort> values;
};

// Q8: codes int8 [outputs, in], aligned to 8 bytes, and scales float16 [outputs, in / 32]. in % 32 == 0.
struct Q8Rows {
  enum { kFours = 2 };
  DevicePtr<const uchar> codes;
  DevicePtr<const half> scales;
};

static inline Bf16Rows rows_from(Bf16Rows w, int first, int in) {
  const Bf16Rows from = {w.values + ulong(first) * ulong(in)};
  return from;
}
static inline Q8Rows rows_from(Q8Rows w, int first, int in) {
  const ulong at = ulong(first) * ulong(in);
  const Q8Rows from = {w.codes + at, w.scales + at / ulong(kQ8Block)};
  return from;
}

static inline float4 four_bf16(uint2 bits) {
  return float4(as_type<float>(bits.x << 16), as_type<float>(bits.x & 0xFFFF0000u), as_type<float>(bits.y << 16),
                as_type<float>(bits.y & 0xFFFF0000u));
}
static inline float4 four_codes(uint codes) { return float4(as_type<char4>(codes)); }

// Codes as bf16, which holds them exactly: the lower halves of their floats are zero.
static inline uint2 four_codes_as_bf16(uint codes) {
  const float4 four = four_codes(codes);
  return uint2(as_type<uint>(four.x) >> 16 | as_type<uint>(four.y),
               as_type<uint>(four.z) >> 16 | as_type<uint>(four.w));
}

}  // namespace oss
