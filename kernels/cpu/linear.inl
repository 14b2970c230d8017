// Linear:  y[t,r] (=|+=) Σ_k x[t,k] · w[r,k] + bias[r]
//   x  [rows, in]  f32      w  [out, in]  bf16 or Q8      bias  [out]  f32 or none      y  [rows, out]  f32
//   each sum in 16 lanes along k, then the lanes; f32 accumulation, fused multiply-add where the ISA has one
//
// Decode (one row) reads 2·in·out bytes of bf16 once. It is memory-bound, with two instructions and one multiply-add
// per 32 bytes. Q8 has half the bytes, at four instructions per 17 of them; code · scale has 18 bits, so it is exact.
// Prefill holds a tile of kTileTokens × kTileRows sums in registers, so w is widened once per kTileTokens tokens. The
// caller's range of weight rows stays in L2 while all tokens pass.

// Kinds of weight rows. A block is the number of columns that are widened together.
struct Bf16Rows {
  static constexpr int kBlock = kLanes;
  const uint16_t* data;  // [rows, cols]
  size_t cols;

  struct Block {
    const uint16_t* data;
    Vec operator[](int) const { return load_bf16(data); }
  };
  Bf16Rows from(int row) const { return {data + size_t(row) * cols, cols}; }
  Block block(int row, size_t k) const { return {data + size_t(row) * cols + k}; }
  // A tile's rows are contiguous, and the next tile follows them: it is prefetched in order.
  template <int R>
  void prefetch_next(size_t k) const {
    prefetch<R * kBlock * sizeof(uint16_t)>(data + R * cols + R * k);
  }
};
struct Q8Rows {
  static constexpr int kBlock = kQ8Block;
  const int8_t* codes;     // [rows, cols]
  const uint16_t* scales;  // [rows, cols/32]
  size_t cols;

  struct Block {
    const int8_t* codes;
    Vec scale;
    Vec operator[](int i) const { return load_int8(codes + i * kLanes) * scale; }
  };
  Q8Rows from(int row) const { return {codes + size_t(row) * cols, scales + size_t(row) * cols / kQ8Block, cols}; }
  Block block(int row, size_t k) const {
    const size_t at = size_t(row) * cols + k;
    return {codes + at, q8_scale(scales[at / kQ8Block])};
  }
  template <int R>
  void prefetch_next(size_t k) const {
    prefetch<R * kBlock>(codes + R * cols + R * k);
  }
};

template <int T, int R, typename Rows>
void linear_tile(int n, const float* x /*[T, n]*/, const Rows& w /*[R, n]*/, float (&y)[T][R]) {
  Vec sums[T][R];
  OSS_UNROLL for (int t = 0; t < T; ++t) { OSS_UNROLL for (int r = 0; r < R; ++r) sums[t][r] = Vec(0.0f); }
  int k = 0;
  for (; k + Rows::kBlock <= n; k += Rows::kBlock) {
    w.template prefetch_next<R>(size_t(k));
    typename Rows::Block blocks[R];
    OSS_UNROLL for (int r = 0; r < R; ++r) blocks[r] = w.block(r, size_t(k));
    OSS_UNROLL for (int i = 0; i < Rows::kBlock / kLanes; ++i) {
      Vec weights[R];
      OSS_UNROLL for (int r = 0; r < R; ++r) weights[r] = blocks[r][i];
      OSS_UNROLL for (int t = 0; t < T; ++t) {
        const Vec activation = load(x + size_t(t) * n + k + i * kLanes);
        OSS_UNROLL for (int r = 0; r < R; ++r) sums[t][r] = fma(activation, weights[r], sums[t][r]);
      }
    }
  }
  OSS_UNROLL for (int t = 0; t < T; ++t) {
    OSS_UNROLL for (int r = 0; r < R; ++r) {
      if constexpr (Rows::kBlock == kLanes) {  // Q8 has only whole blocks
        if (k < n) {
          sums[t][r] =
              fma(load(x + size_t(t) * n + k, n - k), load_bf16(w.block(r, size_t(k)).data, n - k), sums[t][r]);
        }
      }
      y[t][r] = sum(sums[t][r]);
    }
  }
}

template <int T, int R, typename Rows>
void linear_write(const LinearArgs& args, int r, const float* x, const Rows& w, const float* bias, float* y) {
  float tile[T][R];
  linear_tile<T, R>(args.in, x, w.from(r), tile);
  for (int t = 0; t < T; ++t) {
    for (int i = 0; i < R; ++i) {
      float& out = y[size_t(t) * args.out + r + i];
      const float value = bias != nullptr ? tile[t][i] + bias[r + i] : tile[t][i];
      out = args.accumulate != 0 ? out + value : value;
    }
  }
}

// T tokens, all rows of the range.
template <int T, typename Rows>
void linear_tokens(const LinearArgs& args, int begin, int end, const float* x, const Rows& w, const float* bias,
                   float* y) {
  int r = begin;
  for (; r + kTileRows <= end; r += kTileRows) linear_write<T, kTileRows>(args, r, x, w, bias, y);
  for (; r < end; ++r) linear_write<T, 1>(args, r, x, w, bias, y);
}

template <typename Rows>
void linear_rows(const LinearArgs& args, int begin, int end, const float* x /*[rows, in]*/, const Rows& w /*[out, in]*/,
                 const float* bias /*[out] or null*/, float* y /*[rows, out]*/) {
  int t = 0;
  for (; t + kTileTokens <= args.rows; t += kTileTokens) {
    linear_tokens<kTileTokens>(args, begin, end, x + size_t(t) * args.in, w, bias, y + size_t(t) * args.out);
  }
  for (; t < args.rows; ++t) {
    linear_tokens<1>(args, begin, end, x + size_t(t) * args.in, w, bias, y + size_t(t) * args.out);
  }
}

void linear(const LinearArgs& args, int begin, int end, const float* x, const uint16_t* w, const float* bias,
            float* y) {
  linear_rows(args, begin, end, x, Bf16Rows{w, size_t(args.in)}, bias, y);
}
void linear_q8(const LinearArgs& args, int begin, int end, const float* x, const Q8Weights& w, const float* bias,
               float* y) {
  linear_rows(args, begin, end, x, Q8Rows{w.codes, w.scales, size_t(args.in)}, bias, y);
}
