// RoPE:  with a = x[h,i] and b = x[h, i + head_dim/2], for i < head_dim/2
//   x[h,i] = a·cos[i] - b·sin[i]      x[h, i + head_dim/2] = b·cos[i] + a·sin[i]
//   x  [tokens, heads, head_dim]  f32, tokens row_stride apart      table  [tokens, 2, head_dim/2]  f32: cos, then sin
//
// In place; 8 bytes of traffic per element, all of it in cache after the projection.
void rope(const RopeArgs& args, const float* table /*[tokens, 2, head_dim/2]*/,
          float* x /*[tokens, heads, head_dim]*/) {
  const int half = args.head_dim / 2, full = half - half % kLanes;
  for (int t = 0; t < args.tokens; ++t) {
    const float* cosines = table + size_t(t) * args.head_dim;
    const float* sines = cosines + half;
    for (int h = 0; h < args.heads; ++h) {
      float* a = x + size_t(t) * args.row_stride + size_t(h) * args.head_dim;
      float* b = a + half;
      for (int i = 0; i < full; i += kLanes) {
        const Vec low = load(a + i), high = load(b + i), c = load(cosines + i), s = load(sines + i);
        store(a + i, low * c - high * s);
        store(b + i, high * c + low * s);
      }
      for (int i = full; i < half; ++i) {
        const float low = a[i], high = b[i];
        a[i] = low * cosines[i] - high * sines[i];
        b[i] = high * cosines[i] + low * sines[i];
      }
    }
  }
}
