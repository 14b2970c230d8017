// Narrowing:  y[i] = x[i] rounded to nearest, ties to even      x [n] f32, y [n] bf16
//
// Traffic 6·n bytes. The keys and values of a token of the 20b are 1024 elements a layer, which is little beside their
// projection. So this is a plain loop, which the compiler vectorizes.
void narrow(size_t n, const float* x /*[n]*/, uint16_t* y /*[n]*/) {
  for (size_t i = 0; i < n; ++i) y[i] = f32_to_bf16(x[i]);
}
