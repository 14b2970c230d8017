// Multiplications and additions of a unit with all values in registers: the roof of operations that arithmetic bounds.
// The including file defines PeakSum and PeakFactor, the types of sums and factors; kPeakSums, more sums than an
// instruction takes cycles; kPeakOperations of one instruction; and peak_ones(), peak_dot(sum, a, b).
//
// OSS_PEAK_KEEP hides the values: otherwise the compiler sees equal products and computes one of them.
#if defined(__aarch64__)
#define OSS_PEAK_KEEP(value) asm volatile("" : "+w"(value))
#else
#define OSS_PEAK_KEEP(value) asm volatile("" : "+x"(value))
#endif

// Returns the operations of so many rounds.
double peak(int64_t rounds) {
  PeakSum sums[kPeakSums];
  PeakFactor a = peak_ones(), b = peak_ones();
  for (PeakSum& sum : sums) sum = PeakSum{};
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 16
    for (PeakSum& sum : sums) {
      OSS_PEAK_KEEP(a);
      OSS_PEAK_KEEP(b);
      sum = peak_dot(sum, a, b);
    }
  }
  for (PeakSum& sum : sums) OSS_PEAK_KEEP(sum);
  return double(rounds) * kPeakSums * kPeakOperations;
}
