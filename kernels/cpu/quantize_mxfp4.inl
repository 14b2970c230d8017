// Rounding to MXFP4:  scale = 2^(floor(log2 max|x|) - 2), or the next one if its squared error is smaller
//   x [count, 32] f32, in any order      blocks [count, 16], scales [count], loss [count] or null
//
// The definition, with its reasons, is native/base/mxfp4_quantize.cpp; all instruction sets give its bits. A lane has a
// block of its own, so the errors of a block are summed in the order of its values. The loops over lanes have a constant
// length and compare floats as integers, which works for magnitudes. So compilers vectorize them.
//
// Runs once, at load: 4 bytes in and 0.53 out for each weight, both in cache. Three passes over the values bound it.

constexpr uint32_t kMagnitude = 0x7FFFFFFF, kInfinity = 0x7F800000;
constexpr uint32_t kOne = 0x3F800000, kSix = 0x40C00000;  // bits of floats
constexpr int32_t kLeastScale = 2, kGreatestScale = 252;  // native/loader/scales.h

struct E2m1 {
  float value;    // 0 ½ 1 1½ 2 3 4 6
  uint32_t code;  // 0 .. 7
};
// The nearest E2M1 of a magnitude below 8; ties go to the even code. Steps are ½ below 2, 1 below 4 and 2 above: half of
// the power of two p. The sum p · 2^22 + x has this step, and its low bits count the steps.
inline E2m1 nearest_e2m1(float x) {
  const uint32_t exponent = OSS_BITS(uint32_t, x) & kInfinity, p = exponent > kOne ? exponent : kOne;
  const uint32_t shifter = p + (22u << 23);
  const float sum = x + OSS_BITS(float, shifter);
  const uint32_t value = OSS_BITS(uint32_t, sum - OSS_BITS(float, shifter));
  const uint32_t code = OSS_BITS(uint32_t, sum) - shifter + ((p - kOne) >> 22);
  return {OSS_BITS(float, value < kSix ? value : kSix), code < 7 ? code : 7};
}

struct LaneBlocks {
  uint32_t words[kMxBlock / 8][kLanes];  // codes of 8 values
  uint32_t scales[kLanes], largest[kLanes], largest_error[kLanes], changed[kLanes];
  float squares[kLanes], error_squares[kLanes];
};

// Sixteen blocks, one in each lane: value i of lane l is x[i * stride + l]. The results are as Mxfp4Loss has them;
// `largest` is the greatest magnitude of a block.
void quantize_lanes(const float* x, int stride, LaneBlocks& out) {
  uint32_t largest[kLanes] = {};
  for (int i = 0; i < kMxBlock; ++i) {
    for (int l = 0; l < kLanes; ++l) {
      const uint32_t magnitude = OSS_BITS(uint32_t, x[i * stride + l]) & kMagnitude;
      largest[l] = magnitude > largest[l] ? magnitude : largest[l];
    }
  }
  // The scale of the rule, within [2, 252], and 127 for zeros. Subnormal numbers have the exponent 0.
  uint32_t scales[kLanes];
  float unit[kLanes];
  for (int l = 0; l < kLanes; ++l) {
    int32_t scale = int32_t(largest[l] >> 23) - 2;
    scale = scale < kLeastScale ? kLeastScale : scale > kGreatestScale ? kGreatestScale : scale;
    scales[l] = largest[l] == 0 ? 127u : uint32_t(scale);
    unit[l] = OSS_BITS(float, (254u - scales[l]) << 23);
  }
  float fine[kLanes] = {}, coarse[kLanes] = {};
  for (int i = 0; i < kMxBlock; ++i) {
    for (int l = 0; l < kLanes; ++l) {
      const float magnitude = OSS_BITS(float, OSS_BITS(uint32_t, x[i * stride + l]) & kMagnitude);
      const float a = magnitude * unit[l], b = magnitude * (unit[l] * 0.5f);
      const float error_a = nearest_e2m1(a).value - a, error_b = nearest_e2m1(b).value - b;
      fine[l] += error_a * error_a;
      coarse[l] += error_b * error_b;
    }
  }
  float scale[kLanes], squares[kLanes] = {};
  uint32_t largest_error[kLanes] = {}, changed[kLanes] = {};
  for (int l = 0; l < kLanes; ++l) {
    const uint32_t most = OSS_BITS(uint32_t, OSS_BITS(float, largest[l]) * unit[l]);
    const uint32_t error = OSS_BITS(uint32_t, 4 * coarse[l]);
    const bool next = (most > kSix) & (scales[l] != uint32_t(kGreatestScale)) & (error < OSS_BITS(uint32_t, fine[l]));
    scales[l] += next ? 1 : 0;
    unit[l] = OSS_BITS(float, (254u - scales[l]) << 23);
    scale[l] = OSS_BITS(float, scales[l] << 23);
    out.error_squares[l] = next ? coarse[l] : fine[l];
    out.scales[l] = scales[l];
    out.largest[l] = largest[l];
  }
  for (int w = 0; w < kMxBlock / 8; ++w) {
    uint32_t word[kLanes] = {};
    for (int i = 0; i < 8; ++i) {
      for (int l = 0; l < kLanes; ++l) {
        const uint32_t bits = OSS_BITS(uint32_t, x[(w * 8 + i) * stride + l]), magnitude = bits & kMagnitude;
        const float in_units = OSS_BITS(float, magnitude) * unit[l];
        const E2m1 nearest = nearest_e2m1(in_units);
        word[l] |= (nearest.code | (bits >> 31 << 3)) << (4 * i);
        squares[l] += in_units * in_units;
        // Exact: the two are within a factor of 2, or one is 0.
        const float error = nearest.value * scale[l] - OSS_BITS(float, magnitude);
        const uint32_t size = OSS_BITS(uint32_t, error) & kMagnitude;
        largest_error[l] = size > largest_error[l] ? size : largest_error[l];
        changed[l] += size != 0 ? 1 : 0;
      }
    }
    for (int l = 0; l < kLanes; ++l) out.words[w][l] = word[l];
  }
  for (int l = 0; l < kLanes; ++l) {
    out.squares[l] = squares[l];
    out.largest_error[l] = largest_error[l];
    out.changed[l] = changed[l];
  }
}

bool quantize_mxfp4(int count, const float* x, int block_stride, int value_stride, uint8_t* blocks, uint8_t* scales,
                    Mxfp4Loss* loss) {
  uint32_t largest = 0;
  float lanes[kMxBlock * kLanes];
  for (int first = 0; first < count; first += kLanes) {
    const int n = count - first < kLanes ? count - first : kLanes;
    const float* from = x + ptrdiff_t(first) * block_stride;
    LaneBlocks made;
    if (n == kLanes && block_stride == 1) {
      quantize_lanes(from, value_stride, made);
    } else {
      if (n == kLanes && value_stride == 1) {
        transpose16(from, block_stride, lanes, kLanes);
        transpose16(from + kLanes, block_stride, lanes + kLanes * kLanes, kLanes);
      } else {
        for (int i = 0; i < kMxBlock; ++i) {
          for (int l = 0; l < kLanes; ++l) {
            lanes[i * kLanes + l] = l < n ? from[ptrdiff_t(l) * block_stride + ptrdiff_t(i) * value_stride] : 0.0f;
          }
        }
      }
      quantize_lanes(lanes, kLanes, made);
    }
    for (int l = 0; l < n; ++l) {
      for (int w = 0; w < kMxBlock / 8; ++w) {
        __builtin_memcpy(blocks + (first + l) * kMxBlockBytes + 4 * w, &made.words[w][l], 4);
      }
      scales[first + l] = uint8_t(made.scales[l]);
      largest = made.largest[l] > largest ? made.largest[l] : largest;
    }
    for (int l = 0; loss != nullptr && l < n; ++l) {
      loss[first + l] = {made.squares[l], made.error_squares[l], OSS_BITS(float, made.largest_error[l]),
                         int(made.changed[l])};
    }
  }
  return largest < kInfinity;
}
