// The experts of one layer. For each pair p of a token t and its k-th expert e:
//   gate[i] = W1[2i]·x[t] + b1[2i]      up[i] = W1[2i+1]·x[t] + b1[2i+1]      act[p,i] = swiglu(gate[i], up[i])
//   (a row of `added` joins gate and up: the low-rank term of an adapter)
//   out[p,r] = W2[r]·act[p] + b2[r]      x[t] += Σ_k weight[t,k] · out[p]
//   W1  [2·intermediate, hidden]  W2  [hidden, intermediate]  MXFP4 of one expert      activations f32
//
// Decode reads 17 bytes per 32 weights once: 13.2 MB per expert of the 20b, 4 experts a token. It is memory-bound if 32
// weights take less time than reading 17 bytes. On AVX-512 they take 7 vector instructions and 3.5 cycles.
//
// An activation row is stored "split": each block of 32 as 16 even elements, then 16 odd ones, because the low nibbles
// of a block are its even elements. A block then needs two table look-ups and no shuffling between lanes.
//
// All pairs of one expert pass over a range of its rows together, in tiles as in linear.inl. So a range is read from
// memory once, and from L2 after that.

// The scale of each byte. It is a constant, because start-up code that fills it would also run on machines without
// these instructions.
struct ScaleTable {
  float half[256];
  constexpr ScaleTable() : half() {
    for (uint32_t e = 0; e < 256; ++e) half[e] = e8m0_half(e);
  }
};
constexpr ScaleTable kScales;

void mxfp4_dequantize(size_t num_blocks, const uint8_t* blocks /*[num_blocks, 16]*/,
                      const uint8_t* scales /*[num_blocks]*/, float* y /*[num_blocks, 32]*/) {
  for (size_t b = 0; b < num_blocks; ++b, blocks += kMxBlockBytes, y += kMxBlock) {
    Vec even, odd;
    load_mxfp4(blocks, Vec(kScales.half[scales[b]]), even, odd);
    float low[kLanes], high[kLanes];
    store(low, even);
    store(high, odd);
    for (int i = 0; i < kLanes; ++i) {
      y[2 * i] = low[i];
      y[2 * i + 1] = high[i];
    }
  }
}

void experts_split(size_t n, const float* x /*[n]*/, float* split /*[n]*/) {
  for (size_t b = 0; b < n; b += kMxBlock) {
    for (int i = 0; i < kMxBlock / 2; ++i) {
      split[b + i] = x[b + 2 * i];
      split[b + kMxBlock / 2 + i] = x[b + 2 * i + 1];
    }
  }
}

template <int T, int R>
void mxfp4_tile(int num_blocks, const float* const (&x)[T] /*[32·num_blocks] each, split*/,
                const uint8_t* blocks /*[R, num_blocks, 16]*/, const uint8_t* scales /*[R, num_blocks]*/,
                float (&y)[T][R]) {
  Vec sums[T][R];
  OSS_UNROLL for (int t = 0; t < T; ++t) { OSS_UNROLL for (int r = 0; r < R; ++r) sums[t][r] = Vec(0.0f); }
  for (int b = 0; b < num_blocks; ++b) {
    // A tile's rows are contiguous, and the next tile follows them: it is prefetched in order, R blocks at a time.
    prefetch<R * kMxBlockBytes>(blocks + (size_t(R) * num_blocks + size_t(R) * b) * kMxBlockBytes);
    OSS_UNROLL for (int r = 0; r < R; ++r) {
      const size_t at = size_t(r) * num_blocks + b;
      Vec even, odd;
      load_mxfp4(blocks + at * kMxBlockBytes, Vec(kScales.half[scales[at]]), even, odd);
      OSS_UNROLL for (int t = 0; t < T; ++t) {
        sums[t][r] = fma(load(x[t] + b * kMxBlock), even, sums[t][r]);
        sums[t][r] = fma(load(x[t] + b * kMxBlock + kLanes), odd, sums[t][r]);
      }
    }
  }
  OSS_UNROLL for (int t = 0; t < T; ++t) { OSS_UNROLL for (int r = 0; r < R; ++r) y[t][r] = sum(sums[t][r]); }
}

// Rows [row, row + R) of an expert for T activation rows, bias added.
template <int T, int R>
void expert_rows(const ExpertWeights& w, int num_blocks, int row, const float* const (&x)[T], float (&y)[T][R]) {
  const size_t at = size_t(row) * num_blocks;
  mxfp4_tile<T, R>(num_blocks, x, w.blocks + at * kMxBlockBytes, w.scales + at, y);
  for (int t = 0; t < T; ++t) {
    for (int r = 0; r < R; ++r) y[t][r] += w.bias[row + r];
  }
}

template <int T>
void gate_up_pairs(const ExpertsArgs& args, const ExpertWeights& w, int begin, int end, const int32_t* pairs /*[T]*/,
                   const float* const* added /*[T] or null*/, const float* x_split, float* act) {
  const float* x[T];
  for (int t = 0; t < T; ++t) x[t] = x_split + size_t(pairs[t] / args.top_k) * args.hidden;
  for (int block = begin; block < end; block += kMxBlock) {
    float gate[T][kMxBlock], up[T][kMxBlock];  // in split order
    for (int i = 0; i < kMxBlock; i += kTileRows / 2) {
      float tile[T][kTileRows];
      expert_rows<T, kTileRows>(w, args.hidden / kMxBlock, 2 * (block + i), x, tile);
      for (int t = 0; added != nullptr && t < T; ++t) {
        if (added[t] == nullptr) continue;
        for (int r = 0; r < kTileRows; ++r) tile[t][r] += added[t][2 * (block + i) + r];
      }
      for (int j = 0; j < kTileRows / 2; ++j) {
        const int at = (i + j) / 2 + (i + j) % 2 * (kMxBlock / 2);
        for (int t = 0; t < T; ++t) {
          gate[t][at] = tile[t][2 * j];
          up[t][at] = tile[t][2 * j + 1];
        }
      }
    }
    for (int t = 0; t < T; ++t) {
      swiglu_row(kMxBlock, args.alpha, args.limit, gate[t], up[t], act + size_t(pairs[t]) * args.intermediate + block);
    }
  }
}

void experts_gate_up(const ExpertsArgs& args, const ExpertWeights& w, int begin, int end, const int32_t* pairs,
                     int num_pairs, const float* const* added /*[num_pairs] of [2·intermediate]*/,
                     const float* x_split /*[tokens, hidden]*/, float* act /*[pairs, intermediate]*/) {
  const auto added_from = [&](int p) { return added != nullptr ? added + p : nullptr; };
  int p = 0;
  for (; p + kTileTokens <= num_pairs; p += kTileTokens) {
    gate_up_pairs<kTileTokens>(args, w, begin, end, pairs + p, added_from(p), x_split, act);
  }
  for (; p < num_pairs; ++p) gate_up_pairs<1>(args, w, begin, end, pairs + p, added_from(p), x_split, act);
}

template <int T>
void down_pairs(const ExpertsArgs& args, const ExpertWeights& w, int begin, int end, const int32_t* pairs /*[T]*/,
                const float* act, float* out) {
  const int num_blocks = args.intermediate / kMxBlock;
  const float* x[T];
  for (int t = 0; t < T; ++t) x[t] = act + size_t(pairs[t]) * args.intermediate;
  int row = begin;
  for (; row + kTileRows <= end; row += kTileRows) {
    float tile[T][kTileRows];
    expert_rows<T, kTileRows>(w, num_blocks, row, x, tile);
    for (int t = 0; t < T; ++t) {
      for (int r = 0; r < kTileRows; ++r) out[size_t(pairs[t]) * args.hidden + row + r] = tile[t][r];
    }
  }
  for (; row < end; ++row) {
    float tile[T][1];
    expert_rows<T, 1>(w, num_blocks, row, x, tile);
    for (int t = 0; t < T; ++t) out[size_t(pairs[t]) * args.hidden + row] = tile[t][0];
  }
}

void experts_down(const ExpertsArgs& args, const ExpertWeights& w, int begin, int end, const int32_t* pairs,
                  int num_pairs, const float* act /*[pairs, intermediate]*/, float* out /*[pairs, hidden]*/) {
  int p = 0;
  for (; p + kTileTokens <= num_pairs; p += kTileTokens) {
    down_pairs<kTileTokens>(args, w, begin, end, pairs + p, act, out);
  }
  for (; p < num_pairs; ++p) down_pairs<1>(args, w, begin, end, pairs + p, act, out);
}

void experts_sum(const ExpertsArgs& args, int begin, int end, const float* weight /*[tokens, top_k]*/,
                 const float* out /*[tokens, top_k, hidden]*/, float* x /*[tokens, hidden]*/) {
  for (int t = 0; t < args.tokens; ++t) {
    const size_t first = size_t(t) * args.top_k;
    float* row = x + size_t(t) * args.hidden;
    int c = begin;
    for (; c + kLanes <= end; c += kLanes) {
      Vec total(0.0f);
      for (int k = 0; k < args.top_k; ++k) {
        total = fma(Vec(weight[first + k]), load(out + (first + k) * args.hidden + c), total);
      }
      store(row + c, load(row + c) + total);
    }
    for (; c < end; ++c) {
      float total = 0;
      for (int k = 0; k < args.top_k; ++k) total = fma(weight[first + k], out[(first + k) * args.hidden + c], total);
      row[c] += total;
    }
  }
}
