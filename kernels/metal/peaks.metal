// The peak rates of this GPU, beside which operations are shown. No step runs these kernels.
//
// read_memory reads memory and does nothing else: no kernel that must read its weights is faster.
//   sums[g · simdgroups + s] = the sum of the words that simdgroup s of threadgroup g has read, modulo 2^32
//   from  [threadgroups, vectors]  uint4      sums  [threadgroups, kReadThreads / 32]  uint
// The sums show the host that everything was read, and keep the compiler from leaving the reads out.
//
// multiply_matrices and multiply_floats multiply with all values in registers, as tiles of bf16 and rows do.
//   out  [threadgroups, kMultiplyThreads / 32, kMultiplyChains, 8, 8] and [threadgroups, kMultiplyThreads]  float
#include "kernels/metal/lang.h"
#include "kernels/metal/peaks.h"

using namespace oss;

// Each threadgroup reads a range of its own, and neighbours in a simdgroup read neighbours in memory.
kernel void read_memory(constant ReadLaunch& args [[buffer(0)]], DevicePtr<const uint4> from [[buffer(1)]],
                        DevicePtr<uint> sums [[buffer(2)]], OSS_POSITION) {
  const ulong first = ulong(group.x) * ulong(args.vectors) + ulong(index);
  uint4 sum = uint4(0u);
  for (int v = 0; v < args.vectors; v += kReadThreads * kReadsInFlight) {
    uint4 read[kReadsInFlight];
    for (int i = 0; i < kReadsInFlight; ++i) read[i] = from[first + ulong(v + i * kReadThreads)];
    for (int i = 0; i < kReadsInFlight; ++i) sum = sum + read[i];
  }
  const uint total = simd_sum(sum.x + sum.y + sum.z + sum.w);
  if (lane == 0) sums[group.x * uint(kReadThreads / 32) + simdgroup] = total;
}
OSS_KERNEL(read_memory)

kernel void multiply_matrices(constant MultiplyLaunch& args [[buffer(0)]], DevicePtr<float> out [[buffer(1)]],
                              OSS_POSITION) {
  const simdgroup_bfloat8x8 values = make_filled_simdgroup_matrix<bfloat, 8, 8>(bfloat(args.value));
  simdgroup_float8x8 sums[kMultiplyChains];
#pragma clang loop unroll(full)
  for (int chain = 0; chain < kMultiplyChains; ++chain) sums[chain] = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
  for (int round = 0; round < args.rounds; ++round) {
#pragma clang loop unroll(full)
    for (int chain = 0; chain < kMultiplyChains; ++chain)
      simdgroup_multiply_accumulate(sums[chain], values, values, sums[chain]);
  }
  const ulong first = (ulong(group.x) * ulong(kMultiplyThreads / 32) + ulong(simdgroup)) * ulong(kMultiplyChains);
#pragma clang loop unroll(full)
  for (int chain = 0; chain < kMultiplyChains; ++chain)
    simdgroup_store(sums[chain], out + (first + ulong(chain)) * 64, 8);
}
OSS_KERNEL(multiply_matrices)

kernel void multiply_floats(constant MultiplyLaunch& args [[buffer(0)]], DevicePtr<float> out [[buffer(1)]],
                            OSS_POSITION) {
  float sums[kMultiplyChains];
#pragma clang loop unroll(full)
  for (int chain = 0; chain < kMultiplyChains; ++chain) sums[chain] = 0.0f;
  for (int round = 0; round < args.rounds; ++round) {
#pragma clang loop unroll(full)
    for (int chain = 0; chain < kMultiplyChains; ++chain) sums[chain] = fma(args.value, args.value, sums[chain]);
  }
  float sum = 0.0f;
#pragma clang loop unroll(full)
  for (int chain = 0; chain < kMultiplyChains; ++chain) sum += sums[chain];
  out[group.x * uint(kMultiplyThreads) + index] = sum;
}
OSS_KERNEL(multiply_floats)
