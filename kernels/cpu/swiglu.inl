// The clamped SwiGLU of common/swiglu.h:  y[i] = swiglu(gate[i], up[i])      gate, up, y  [n]  f32
//
// Runs on 32 values at a time inside the experts, while they are in L1.
void swiglu_row(int n, float alpha, float limit, const float* gate /*[n]*/, const float* up /*[n]*/, float* y /*[n]*/) {
  int i = 0;
  for (; i + kLanes <= n; i += kLanes) store(y + i, swiglu(load(gate + i), load(up + i), alpha, limit));
  if (i < n) store(y + i, swiglu(load(gate + i, n - i), load(up + i, n - i), alpha, limit), n - i);
}
