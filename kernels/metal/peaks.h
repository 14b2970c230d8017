// The arguments of peaks.metal, for host and device.
#pragma once
#include "kernels/common/lang.h"

namespace oss {

OSS_CONSTANT int kReadThreads = 256;
OSS_CONSTANT int kReadsInFlight = 4;  // of a thread, 16 bytes each

struct ReadLaunch {
  int vectors;  // of 16 bytes that a threadgroup reads; a multiple of kReadThreads · kReadsInFlight
};

OSS_CONSTANT int kMultiplyThreads = 64;
OSS_CONSTANT int kMultiplyChains = 8;  // independent sums: enough to hide each other's latency

struct MultiplyLaunch {
  int rounds;
  float value;  // that is multiplied with itself
};

}  // namespace oss
