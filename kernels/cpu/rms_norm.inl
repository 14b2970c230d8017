// RMSNorm:  y[t,c] = x[t,c] · w[c] / sqrt(mean_c(x[t,c]²) + ε)
//   x, y   [rows, hidden]  f32      w  [hidden]  f32
//   the mean is summed in 16 lanes; the row is read twice, the second time from L1
//
// Traffic 8·rows·hidden bytes. One token of the 20b is 23 KB: a microsecond of one core, so decode does not divide it.
void rms_norm(const RmsNormArgs& args, const float* x /*[rows, hidden]*/, const float* w /*[hidden]*/, float* y) {
  const int n = args.hidden, full = n - n % kLanes;
  for (int t = 0; t < args.rows; ++t, x += n, y += n) {
    Vec squares(0.0f);
    for (int c = 0; c < full; c += kLanes) squares = fma(load(x + c), load(x + c), squares);
    if (full < n) squares = fma(load(x + full, n - full), load(x + full, n - full), squares);
    const Vec scale(1.0f / __builtin_sqrtf(sum(squares) / float(n) + args.eps));
    for (int c = 0; c < full; c += kLanes) store(y + c, load(x + c) * scale * load(w + c));
    if (full < n) store(y + full, load(x + full, n - full) * scale * load(w + full, n - full), n - full);
  }
}
