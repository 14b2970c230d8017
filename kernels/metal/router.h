// The arguments of router.metal, for host and device.
#pragma once
#include "kernels/common/lang.h"

namespace oss {

OSS_CONSTANT int kRouterTokens = 4;    // of a threadgroup: one simdgroup each
OSS_CONSTANT int kRouterPerLane = 8;   // the most experts of a lane
OSS_CONSTANT int kRouterMaxTopK = 32;  // one lane each
OSS_CONSTANT int kRouterMaxExperts = 32 * kRouterPerLane;

struct RouterLaunch {
  int tokens, experts, top_k;
};

}  // namespace oss
