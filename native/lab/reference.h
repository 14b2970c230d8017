// The results of operations by plain loops in float64, with the mathematics of kernels/common, and how far a kernel may
// be from them. A bench compares a kernel with it before it measures the kernel.
#pragma once
#include <string>

#include "native/lab/lab.h"

namespace oss::lab {

struct Comparison {
  size_t values = 0;    // that were compared: all, or a sample of a large result
  double worst = 0;     // the greatest error, as a part of what is permitted; above 1: the kernel is wrong
  std::string where{};  // the element with it
};

// arguments: those that the operation was prepared from. outputs: of a run of it. Throws kInvalidArgument where the right
// result is not finite: nothing can be compared with it, and the operands are at fault.
Comparison compare(Lab& lab, const Arguments& arguments, const Outputs& outputs);

}  // namespace oss::lab
