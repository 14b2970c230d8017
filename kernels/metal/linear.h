// The arguments of linear.metal, for host and device.
#pragma once
#include "kernels/metal/dense.h"

namespace oss {

struct LinearLaunch {
  int rows, in, out;
  int accumulate, biased;
};

}  // namespace oss
