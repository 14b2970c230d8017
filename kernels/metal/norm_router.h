// The arguments of norm_router.metal, for host and device.
#pragma once
#include "kernels/common/lang.h"

namespace oss {

OSS_CONSTANT int kNormRouterThreads = 1024;
OSS_CONSTANT int kNormRouterColumns = 4096;  // the most values of a token; gpt-oss has 2880

struct NormRouterLaunch {
  int hidden, experts, top_k;
  float eps;
};

}  // namespace oss
