// Widening:  y[i] = x[i]      x [n] bf16, y [n] f32
//
// Traffic 6·n bytes. An embedding of the 20b is 17 KB a token, which is little beside the layers.
void widen(size_t n, const uint16_t* x /*[n]*/, float* y /*[n]*/) {
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(y + i, load_bf16(x + i));
  for (; i < n; ++i) y[i] = bf16_to_f32(x[i]);
}
