// A tolerance and the counts of a step, for tests of CUDA kernels.
#pragma once
#include <cmath>
#include <vector>

#include "test/kernels/cuda/support.h"
#include "test/kernels/gpu/values.h"

namespace oss::test {

// The error of a float32 sum of n products on a tensor core, relative to the largest result. Each mma cuts its products
// and the running sum to 24 bits, an error of up to 2^-23 of the largest. With random signs errors grow like the square
// root. Of thousands of results, the worst can have twice that.
inline double matrix_tolerance(int n) { return std::sqrt(double(n)) * 0x1p-22; }

// The counts of a step, in its device memory.
class DeviceCounts {
 public:
  DeviceCounts(CudaDevice& device, int tokens, int rows = 0)
      : counts_(device, std::vector<cuda::StepCounts>{{tokens, 1, rows, 0}}) {}
  const cuda::StepCounts* data() const { return counts_.data(); }

 private:
  DeviceArray<cuda::StepCounts> counts_;
};

}  // namespace oss::test
