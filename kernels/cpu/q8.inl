// Q8 blocks of rows:  codes[i] = x[i] / scale, rounded to nearest;  y[i] = codes[i] · scale
//   x [n] bf16      codes [n] int8, scales [n/32] float16      y [n] f32
//
// Runs once, at load: 2 bytes in and 1.06 out for each weight. The loops have a constant length, so compilers vectorize
// them. All instruction sets give the same codes. An embedding row is widened like a bf16 row.

bool quantize_q8(size_t num_blocks, const uint16_t* x, int8_t* codes, uint16_t* scales) {
  bool all = true;
  for (size_t b = 0; b < num_blocks; ++b, x += kQ8Block, codes += kQ8Block) {
    // Magnitudes of bf16 are ordered like integers, with infinity and NaN above all numbers.
    uint16_t largest = 0;
    for (int i = 0; i < kQ8Block; ++i) {
      const uint16_t magnitude = x[i] & 0x7FFF;
      largest = magnitude > largest ? magnitude : largest;
    }
    const uint16_t scale = q8_scale_for(bf16_to_f32(largest));
    scales[b] = scale;
    all = all && scale != kQ8NoScale;
    // A block of zeros and a block without a scale get codes of 0.
    const bool usable = scale != 0 && scale != kQ8NoScale;
    const float divisor = usable ? q8_scale_to_f32(scale) : __builtin_inff();
    // Adding 1.5 · 2^23 pushes the fraction out of a float: its low bits then hold the integer in two's complement.
    constexpr float kRounder = 12582912.0f;
    for (int i = 0; i < kQ8Block; ++i) {
      codes[i] = int8_t(uint8_t(OSS_BITS(uint32_t, bf16_to_f32(x[i]) / divisor + kRounder)));
    }
  }
  return all;
}

void widen_q8(size_t num_blocks, const int8_t* codes, const uint16_t* scales, float* y) {
  for (size_t b = 0; b < num_blocks; ++b) {
    const Vec scale = q8_scale(scales[b]);
    for (int i = 0; i < kQ8Block; i += kLanes) store(y + b * kQ8Block + i, load_int8(codes + b * kQ8Block + i) * scale);
  }
}
