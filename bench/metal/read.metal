// Reads memory and does nothing else: no kernel that must read its weights is faster. roof.cpp runs it.
//   sums[g · simdgroups + s] = the sum of the words that simdgroup s of threadgroup g has read, modulo 2^32
//   from  [threadgroups, vectors]  uint4      sums  [threadgroups, kReadThreads / 32]  uint
// The sums show the host that everything was read, and keep the compiler from leaving the reads out.
//
// Only a checkout has this kernel in its library: see kernels/metal/library.cmake.
#include "bench/metal/read.h"
#include "kernels/metal/lang.h"

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
