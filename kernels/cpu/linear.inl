// Linear:  y[t,r] (=|+=) Σ_k x[t,k] · w[r,k] + bias[r]
//   x  [rows, in]  f32      w  [out, in]  bf16      bias  [out]  f32 or none      y  [rows, out]  f32
//   each sum in 16 lanes along k, then the lanes; f32 accumulation, fused multiply-add where there is one
//
// Decode (one row) reads 2·in·out bytes of w once: memory-bound, two instructions and one multiply-add per 32 bytes.
// Prefill holds a tile of kTileTokens × kTileRows sums in registers, so w is widened once per kTileTokens tokens, and
// the caller's range of weight rows stays in L2 while all tokens pass.
template <int T, int R>
void linear_tile(int n, const float* x /*[T, n]*/, const uint16_t* w /*[R, n]*/, float (&y)[T][R]) {
  Vec sums[T][R];
  OSS_UNROLL for (int t = 0; t < T; ++t) { OSS_UNROLL for (int r = 0; r < R; ++r) sums[t][r] = Vec(0.0f); }
  int k = 0;
  for (; k + kLanes <= n; k += kLanes) {
    // A tile's rows lie one after another, and the next tile behind them: it is asked for in order.
    prefetch<R * kLanes * sizeof(uint16_t)>(w + size_t(R) * n + size_t(R) * k);
    Vec weights[R];
    OSS_UNROLL for (int r = 0; r < R; ++r) weights[r] = load_bf16(w + size_t(r) * n + k);
    OSS_UNROLL for (int t = 0; t < T; ++t) {
      const Vec activation = load(x + size_t(t) * n + k);
      OSS_UNROLL for (int r = 0; r < R; ++r) sums[t][r] = fma(activation, weights[r], sums[t][r]);
    }
  }
  OSS_UNROLL for (int t = 0; t < T; ++t) {
    OSS_UNROLL for (int r = 0; r < R; ++r) {
      if (k < n) {
        sums[t][r] = fma(load(x + size_t(t) * n + k, n - k), load_bf16(w + size_t(r) * n + k, n - k), sums[t][r]);
      }
      y[t][r] = sum(sums[t][r]);
    }
  }
}

template <int T, int R>
void linear_write(const LinearArgs& args, int r, const float* x, const uint16_t* w, const float* bias, float* y) {
  float tile[T][R];
  linear_tile<T, R>(args.in, x, w + size_t(r) * args.in, tile);
  for (int t = 0; t < T; ++t) {
    for (int i = 0; i < R; ++i) {
      float& out = y[size_t(t) * args.out + r + i];
      const float value = bias != nullptr ? tile[t][i] + bias[r + i] : tile[t][i];
      out = args.accumulate != 0 ? out + value : value;
    }
  }
}

// T tokens, all rows of the range.
template <int T>
void linear_tokens(const LinearArgs& args, int begin, int end, const float* x, const uint16_t* w, const float* bias,
                   float* y) {
  int r = begin;
  for (; r + kTileRows <= end; r += kTileRows) linear_write<T, kTileRows>(args, r, x, w, bias, y);
  for (; r < end; ++r) linear_write<T, 1>(args, r, x, w, bias, y);
}

void linear(const LinearArgs& args, int begin, int end, const float* x /*[rows, in]*/, const uint16_t* w /*[out, in]*/,
            const float* bias /*[out] or null*/, float* y /*[rows, out]*/) {
  int t = 0;
  for (; t + kTileTokens <= args.rows; t += kTileTokens) {
    linear_tokens<kTileTokens>(args, begin, end, x + size_t(t) * args.in, w, bias, y + size_t(t) * args.out);
  }
  for (; t < args.rows; ++t) {
    linear_tokens<1>(args, begin, end, x + size_t(t) * args.in, w, bias, y + size_t(t) * args.out);
  }
}
