// The passes of sampling over a row of logits, in blocks of kSampleBlock.
//
//   sample_highest   highest[b] = the highest finite logit of block b, +inf counting as the largest float; -inf: none
//   sample_weights   sum[b] = Σ w[i],  w[i] = 2^((x[i] - top) · scale) where x[i] >= lowest, else 0
//     x  [n]  f32      highest, sum  [ceil(n / kSampleBlock)]      no x[i] >= lowest may lie above top
//
// w has a relative error of 2^-34 (a test compares it) and is exactly 1 for the top. A block is summed in sixteen lanes
// of float64. There is no fused multiply-add, so all instruction sets give the same bits, scalar too.
//
// Traffic 4·n bytes, 0.8 MB for the model's vocabulary, from L2 after the LM head. sample_highest only reads them: 9
// us. sample_weights is bound by its 27 operations per register of doubles: 135 us with AVX-512, 210 with AVX2.

// One register of doubles, and the matching floats. The compiler's own vector types need the same code for every
// instruction set. Wider vectors would be split lane by lane in some operations.
#if defined(OSS_SIMD_AVX512)
constexpr int kDoubles = 8;
#elif defined(OSS_SIMD_AVX2)
constexpr int kDoubles = 4;
#else
constexpr int kDoubles = 2;
#endif
typedef double Doubles __attribute__((vector_size(kDoubles * sizeof(double))));
typedef uint64_t DoubleBits __attribute__((vector_size(kDoubles * sizeof(double))));
typedef float Floats __attribute__((vector_size(kDoubles * sizeof(float))));

constexpr float kLargestFloat = 3.40282347e38f;

// Calls visit(block, sixteen logits) for all n logits; -inf fills the last sixteen.
template <typename Visit>
inline void for_each_sixteen(int n, const float* x, const Visit& visit) {
  const int full = n - n % kLanes;
  for (int i = 0; i < full; i += kLanes) visit(x + i);
  if (full == n) return;
  float rest[kLanes];
  for (int lane = 0; lane < kLanes; ++lane) rest[lane] = full + lane < n ? x[full + lane] : -__builtin_inff();
  visit(rest);
}

inline int sample_block_size(int n) { return n < kSampleBlock ? n : kSampleBlock; }

void sample_highest(int n, const float* x /*[n]*/, float* highest) {
  typedef float Register __attribute__((vector_size(kDoubles * sizeof(double))));
  constexpr int kRegisters = kLanes * int(sizeof(float)) / int(sizeof(Register));
  for (; n > 0; n -= kSampleBlock, x += kSampleBlock) {
    Register best[kRegisters];
    for (Register& lanes : best) lanes = Register{} - __builtin_inff();
    for_each_sixteen(sample_block_size(n), x, [&](const float* logits) {
      OSS_UNROLL for (int r = 0; r < kRegisters; ++r) {
        Register other;
        __builtin_memcpy(&other, logits + r * (kLanes / kRegisters), sizeof(other));
        best[r] = other > best[r] ? other : best[r];  // false for NaN, which max() keeps on NEON
      }
    });
    float lanes[kLanes];
    __builtin_memcpy(lanes, best, sizeof(lanes));
    const float found = largest(load(lanes));
    *highest++ = found < kLargestFloat ? found : kLargestFloat;
  }
}

//   t = (x - top) · scale = n + f,  |f| <= 1/2:   2^t = 2^n · p(f),  p(0) = 1, p minimax (4.7e-11 of 2^f)
// for t in [-1022, 0]. Results for other logits are not used.
inline Doubles sample_weight(Doubles x, double top, double scale) {
  constexpr double kRounder = 6755399441055744.0;  // 1.5 · 2^52 pushes the fraction out: n remains, in the lowest bits
  const Doubles t = (x - top) * scale, rounded = t + kRounder, f = t - (rounded - kRounder);
  Doubles p = f * 1.51961542870352e-05 + 0.00015466756520723137;
  p = p * f + 0.001333393506619019;
  p = p * f + 0.009618038131302952;
  p = p * f + 0.05550410365976788;
  p = p * f + 0.24022651066567657;
  p = p * f + 0.6931471807045374;
  p = p * f + 1.0;
  return Doubles(DoubleBits(p) + (DoubleBits(rounded) << 52));
}

void sample_weights(int n, const float* x /*[n]*/, double top, double scale, double lowest, double* sum) {
  constexpr int kRegisters = kLanes / kDoubles;
  const Doubles largest_finite = Doubles{} + double(kLargestFloat);
  for (; n > 0; n -= kSampleBlock, x += kSampleBlock) {
    Doubles sums[kRegisters] = {};
    for_each_sixteen(sample_block_size(n), x, [&](const float* logits) {
      OSS_UNROLL for (int r = 0; r < kRegisters; ++r) {
        Floats narrow;
        __builtin_memcpy(&narrow, logits + r * kDoubles, sizeof(narrow));
        const Doubles wide = __builtin_convertvector(narrow, Doubles);
        const Doubles finite = wide > largest_finite ? largest_finite : wide;
        sums[r] += finite >= lowest ? sample_weight(finite, top, scale) : Doubles{};  // false for NaN
      }
    });
    double lanes[kLanes];
    __builtin_memcpy(lanes, sums, sizeof(lanes));
    for (int half = kLanes / 2; half > 0; half /= 2) {
      for (int lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
    }
    *sum++ = lanes[0];
  }
}
