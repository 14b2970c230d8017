// The clamped SwiGLU of kernels/common/swiglu.h for Metal, whose min and max would replace a NaN by the bound.
#pragma once
#include "kernels/metal/lang.h"

namespace oss {

static inline float clamped_swiglu(float gate, float up, float alpha, float limit) {
  gate = gate > limit ? limit : gate;
  up = up > limit ? limit : up;
  up = up < -limit ? -limit : up;
  return gate / (1.0f + precise::exp(-alpha * gate)) * (up + 1.0f);
}

}  // namespace oss
