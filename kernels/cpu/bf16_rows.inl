// Products by instructions that add bf16 products in pairs (AVX512_BF16, NEON's BF16):
//   linear    y[t,r] (=|+=) Σ_k x[t,k]·w[r,k] + bias[r]      experts    as in experts.inl
//
// A panel is one row. Each sum runs in 16 lanes along k, then the lanes are added, in tiles of kTileTokens × kTileRows
// as in linear.inl. It takes half as many multiply-adds as float32 does there.

inline void pack16(Vec x, uint16_t* high, uint16_t* low) {
  store_bf16(high, x);
  if (low != nullptr) store_bf16(low, x - load_bf16(high));
}

void pack(int cols, const float* const* rows /*[1] of [cols]*/, int, uint16_t* panel, uint16_t* low) {
  const float* x = rows[0];
  for (int k = 0; k < panel_cols(cols); k += kLanes) {
    pack16(k + kLanes <= cols ? load(x + k) : load(x + k, cols > k ? cols - k : 0), panel + k,
           low != nullptr ? low + k : nullptr);
  }
}

// Kinds of weight rows: 32 columns of a row are a Wide.
struct Bf16Rows {
  const uint16_t* data;  // [rows, cols]
  size_t cols;

  Bf16Rows from(int row) const { return {data + size_t(row) * cols, cols}; }
  Wide block(int row, size_t k) const {
    const uint16_t* at = data + size_t(row) * cols + k;
    return k + kMxBlock <= cols ? load_wide(at) : load_wide(at, int(cols - k));
  }
  // A tile's rows are contiguous, and the next tile follows them: it is prefetched in order.
  template <int R>
  void prefetch_next(size_t k) const {
    prefetch<R * kMxBlock * sizeof(uint16_t)>(data + R * cols + R * k);
  }
};
struct Q8Rows {
  const int8_t* codes;     // [rows, cols]
  const uint16_t* scales;  // [rows, cols/32]
  size_t cols;

  Q8Rows from(int row) const { return {codes + size_t(row) * cols, scales + size_t(row) * cols / kQ8Block, cols}; }
  Wide block(int row, size_t k) const {
    const size_t at = size_t(row) * cols + k;
    const Vec scale = q8_scale(scales[at / kQ8Block]);
    return rounded(load_int8(codes + at) * scale, load_int8(codes + at + kLanes) * scale);
  }
  template <int R>
  void prefetch_next(size_t k) const {
    prefetch<R * kQ8Block>(codes + R * cols + R * k);
  }
};

template <int T, int R, typename Rows>
void linear_tile(const LinearArgs& args, const uint16_t* x, const uint16_t* low, const Rows& w /*[R, in]*/,
                 float (&y)[T][R]) {
  const size_t cols = size_t(args.in), stride = size_t(panel_cols(args.in));
  Vec sums[T][R];
  OSS_UNROLL for (int t = 0; t < T; ++t) { OSS_UNROLL for (int r = 0; r < R; ++r) sums[t][r] = Vec(0.0f); }
  for (size_t k = 0; k < cols; k += 2 * kLanes) {
    w.template prefetch_next<R>(k);
    Wide weights[R];
    OSS_UNROLL for (int r = 0; r < R; ++r) weights[r] = w.block(r, k);
    OSS_UNROLL for (int t = 0; t < T; ++t) {
      const Wide activations = load_wide(x + size_t(t) * stride + k);
      OSS_UNROLL for (int r = 0; r < R; ++r) sums[t][r] = dot(sums[t][r], activations, weights[r]);
      if (low == nullptr) continue;
      const Wide rest = load_wide(low + size_t(t) * stride + k);
      OSS_UNROLL for (int r = 0; r < R; ++r) sums[t][r] = dot(sums[t][r], rest, weights[r]);
    }
  }
  OSS_UNROLL for (int t = 0; t < T; ++t) { OSS_UNROLL for (int r = 0; r < R; ++r) y[t][r] = sum(sums[t][r]); }
}

template <int T, int R, typename Rows>
void linear_write(const LinearArgs& args, int r, const uint16_t* x, const uint16_t* low, const Rows& w,
                  const float* bias, float* y) {
  float tile[T][R];
  linear_tile<T, R>(args, x, low, w.from(r), tile);
  for (int t = 0; t < T; ++t) {
    for (int i = 0; i < R; ++i) {
      float& out = y[size_t(t) * args.out + r + i];
      const float value = bias != nullptr ? tile[t][i] + bias[r + i] : tile[t][i];
      out = args.accumulate != 0 ? out + value : value;
    }
  }
}

template <int T, typename Rows>
void linear_tokens(const LinearArgs& args, int begin, int end, const uint16_t* x, const uint16_t* low, const Rows& w,
                   const float* bias, float* y) {
  int r = begin;
  for (; r + kTileRows <= end; r += kTileRows) linear_write<T, kTileRows>(args, r, x, low, w, bias, y);
  for (; r < end; ++r) linear_write<T, 1>(args, r, x, low, w, bias, y);
}

template <typename Rows>
void linear_rows(const LinearArgs& args, int begin, int end, const uint16_t* panels, const uint16_t* low, const Rows& w,
                 const float* bias, float* y) {
  const size_t stride = size_t(panel_cols(args.in));
  const auto low_of = [&](int t) { return low != nullptr ? low + size_t(t) * stride : nullptr; };
  int t = 0;
  for (; t + kTileTokens <= args.rows; t += kTileTokens) {
    linear_tokens<kTileTokens>(args, begin, end, panels + size_t(t) * stride, low_of(t), w, bias,
                               y + size_t(t) * args.out);
  }
  for (; t < args.rows; ++t) {
    linear_tokens<1>(args, begin, end, panels + size_t(t) * stride, low_of(t), w, bias, y + size_t(t) * args.out);
  }
}

void linear(const LinearArgs& args, int begin, int end, const uint16_t* panels, const uint16_t* low, const uint16_t* w,
            const float* bias, float* y) {
  linear_rows(args, begin, end, panels, low, Bf16Rows{w, size_t(args.in)}, bias, y);
}

// Rows of Q8 that are rounded at a time into L2, when more than one tile of tokens passes over them.
constexpr int kQ8Rows = 16;

static_assert(kQ8Rows <= 32);  // most_packed_work_elements()
size_t packed_work_elements(int cols) { return size_t(kQ8Rows) * cols; }

void linear_q8(const LinearArgs& args, int begin, int end, const uint16_t* panels, const uint16_t* low,
               const Q8Weights& w, const float* bias, float* y, uint16_t* work) {
  const size_t cols = size_t(args.in);
  const Q8Rows rows = {w.codes, w.scales, cols};
  if (args.rows <= kTileTokens) return linear_rows(args, begin, end, panels, low, rows, bias, y);
  for (int row = begin; row < end; row += kQ8Rows) {
    const int n = end - row < kQ8Rows ? end - row : kQ8Rows;
    for (int r = 0; r < n; ++r) {
      for (size_t k = 0; k < cols; k += kQ8Block) store_wide(work + size_t(r) * cols + k, rows.block(row + r, k));
    }
    linear(args, 0, n, panels, low, work, bias != nullptr ? bias + row : nullptr, y + row);
  }
}

// Rows [row, row + R) of an expert for T activation rows, bias added.
template <int T, int R>
void expert_tile(const ExpertWeights& w, int num_blocks, int row, const uint16_t* x, float (&y)[T][R]) {
  Vec sums[T][R];
  OSS_UNROLL for (int t = 0; t < T; ++t) { OSS_UNROLL for (int r = 0; r < R; ++r) sums[t][r] = Vec(0.0f); }
  const uint8_t* blocks = w.blocks + size_t(row) * num_blocks * kMxBlockBytes;
  const uint8_t* scales = w.scales + size_t(row) * num_blocks;
  for (int b = 0; b < num_blocks; ++b) {
    prefetch<R * kMxBlockBytes>(blocks + (size_t(R) * num_blocks + size_t(R) * b) * kMxBlockBytes);
    OSS_UNROLL for (int r = 0; r < R; ++r) {
      const size_t at = size_t(r) * num_blocks + b;
      const Wide weights = load_mxfp4(blocks + at * kMxBlockBytes, scales[at]);
      OSS_UNROLL for (int t = 0; t < T; ++t) {
        sums[t][r] = dot(sums[t][r], load_wide(x + (size_t(t) * num_blocks + b) * kMxBlock), weights);
      }
    }
  }
  for (int t = 0; t < T; ++t) {
    for (int r = 0; r < R; ++r) y[t][r] = sum(sums[t][r]) + w.bias[row + r];
  }
}

template <int T>
void gate_up_pairs(const ExpertsArgs& args, const ExpertWeights& w, int begin, int end,
                   const float* const* added /*[T] or null*/, const uint16_t* x /*[T, hidden]*/,
                   uint16_t* act /*[T, intermediate]*/) {
  for (int unit = begin; unit < end; unit += kLanes) {
    float gate[T][kLanes], up[T][kLanes];
    for (int i = 0; i < kLanes; i += kTileRows / 2) {
      float tile[T][kTileRows];
      expert_tile<T, kTileRows>(w, args.hidden / kMxBlock, 2 * (unit + i), x, tile);
      for (int t = 0; added != nullptr && t < T; ++t) {
        if (added[t] == nullptr) continue;
        for (int r = 0; r < kTileRows; ++r) tile[t][r] += added[t][2 * (unit + i) + r];
      }
      for (int j = 0; j < kTileRows / 2; ++j) {
        for (int t = 0; t < T; ++t) {
          gate[t][i + j] = tile[t][2 * j];
          up[t][i + j] = tile[t][2 * j + 1];
        }
      }
    }
    for (int t = 0; t < T; ++t) {
      store_bf16(act + size_t(t) * args.intermediate + unit,
                 swiglu(load(gate[t]), load(up[t]), args.alpha, args.limit));
    }
  }
}

void experts_gate_up(const ExpertsArgs& args, const ExpertWeights& w, int begin, int end, int num_pairs,
                     const float* const* added, const uint16_t* panels, uint16_t* act_panels, uint16_t*) {
  const size_t hidden = size_t(args.hidden), intermediate = size_t(args.intermediate);
  const auto added_from = [&](int p) { return added != nullptr ? added + p : nullptr; };
  int p = 0;
  for (; p + kTileTokens <= num_pairs; p += kTileTokens) {
    gate_up_pairs<kTileTokens>(args, w, begin, end, added_from(p), panels + p * hidden, act_panels + p * intermediate);
  }
  for (; p < num_pairs; ++p) {
    gate_up_pairs<1>(args, w, begin, end, added_from(p), panels + p * hidden, act_panels + p * intermediate);
  }
}

template <int T>
void down_pairs(const ExpertsArgs& args, const ExpertWeights& w, int begin, int end, const int32_t* pairs /*[T]*/,
                const uint16_t* act /*[T, intermediate]*/, float* out) {
  for (int row = begin; row < end; row += kTileRows) {
    float tile[T][kTileRows];
    expert_tile<T, kTileRows>(w, args.intermediate / kMxBlock, row, act, tile);
    for (int t = 0; t < T; ++t) {
      for (int r = 0; r < kTileRows; ++r) out[size_t(pairs[t]) * args.hidden + row + r] = tile[t][r];
    }
  }
}

void experts_down(const ExpertsArgs& args, const ExpertWeights& w, int begin, int end, const int32_t* pairs,
                  int num_pairs, const uint16_t* act_panels, float* out, uint16_t*) {
  const size_t intermediate = size_t(args.intermediate);
  int p = 0;
  for (; p + kTileTokens <= num_pairs; p += kTileTokens) {
    down_pairs<kTileTokens>(args, w, begin, end, pairs + p, act_panels + p * intermediate, out);
  }
  for (; p < num_pairs; ++p) down_pairs<1>(args, w, begin, end, pairs + p, act_panels + p * intermediate, out);
}
