// The arguments of rms_norm.metal, for host and device.
#pragma once
#include "kernels/common/lang.h"

namespace oss {

OSS_CONSTANT int kRmsNormThreads = 256;

struct RmsNormLaunch {
  int hidden;
  float eps;
  int precise;  // 1: y_low is written
};

}  // namespace oss
