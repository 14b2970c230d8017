// The clamped SwiGLU of gpt-oss:
//   gate' = min(gate, limit)   (not clamped from below)      up' = clamp(up, -limit, limit)
//   y = gate' · sigmoid(alpha · gate') · (up' + 1)
// A gate of -10000 gives -0: exp overflows to infinity, and the division gives zero, never NaN.
#pragma once
#include "kernels/common/lang.h"

namespace oss {

// F is float or a vector of floats, whose min, max and exp are found by overloading. min(bound, x) keeps a NaN in x.
template <typename F>
OSS_FN F swiglu(F gate, F up, float alpha, float limit) {
  gate = min(F(limit), gate);
  up = max(F(-limit), min(F(limit), up));
  return gate / (F(1.0f) + exp(F(-alpha) * gate)) * (up + F(1.0f));
}

}  // namespace oss
