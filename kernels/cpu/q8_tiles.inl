// linear with Q8 weights on AMX tiles: code · scale, rounded to bf16, 10 instructions and 2.1 ns (at 3.8 GHz) for 32
// weights; memory takes 2.4 ns to bring them to each of two cores.
//
// One or two panels: two tiles at a time in L1, as the experts' are. More of them: 128 rows become bf16 in L2, over which
// linear() passes, so that rounding is paid for once. Tiles add up in the same order.

constexpr int kQ8Rows = 128;
// How far ahead of its use a row is asked for, in bytes: 32 rows are 16 KB on their way. Rows at this distance are no
// stream that the hardware sees, and the first of a range come from nobody's prefetch: without this, ranges of 64 rows were
// read at 6.2 GB/s per core, with it at 7.5.
constexpr int kQ8Ahead = 512;

// Scales of 32 rows as floats, and rows or tiles.
size_t q8_work_elements(int cols) { return 2 * size_t(cols) + size_t(kQ8Rows) * cols; }

inline void round_q8(const int8_t* codes, Vec scale, uint16_t* to) {
  _mm512_store_si512(to, rounded(load_int8(codes) * scale, load_int8(codes + kLanes) * scale).v);
}

inline void widen_scales(int n, const uint16_t* scales, float* to /*[n up to a multiple of 16]*/) {
  for (int i = 0; i < n; i += kLanes) {
    _mm512_store_ps(to + i, _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first_lanes(min_of(kLanes, n - i)), scales + i)));
  }
}

// Step s of num_rows <= 16 weight rows → a tile. Past the end of its row, what comes is the beginning of the 32nd row after.
inline void q8_tile(const int8_t* codes /*[num_rows, 32·steps]*/, const float* scales /*[num_rows, steps]*/, int num_rows,
                    int steps, int s, uint16_t* tile) {
  const size_t cols = size_t(steps) * kTileK;
  const size_t ahead = size_t(s) * kTileK + kQ8Ahead;
  const int8_t* next = codes + (ahead < cols ? ahead : ahead + (2 * kTile - 1) * cols);
  codes += size_t(s) * kTileK;
  scales += s;
  if (num_rows == kTile) {
    OSS_UNROLL for (int i = 0; i < kTile; ++i) {
      __builtin_prefetch(next + i * cols, 0, 2);  // into L2: L1 is full of tiles
      round_q8(codes + i * cols, Vec(scales[i * steps]), tile + i * kTileK);
    }
    return;
  }
  for (int i = 0; i < num_rows; ++i) round_q8(codes + i * cols, Vec(scales[i * steps]), tile + i * kTileK);
  for (int i = num_rows; i < kTile; ++i) _mm512_store_si512(tile + i * kTileK, _mm512_setzero_si512());
}

// Weight rows [row, row + num_rows), at most 32, for all panels, of which there are P.
template <int P>
void q8_rows32(const LinearArgs& args, int row, int num_rows, const uint16_t* panels, const uint16_t* low,
               const Q8Weights& w, const float* bias, float* y, uint16_t* work) {
  const int steps = args.in / kTileK, first_rows = min_of(num_rows, kTile);
  const size_t cols = size_t(args.in), panel_elements = cols * kTile;
  const int8_t* codes = w.codes + size_t(row) * cols;
  float* scales = reinterpret_cast<float*>(work);
  widen_scales(num_rows * steps, w.scales + size_t(row) * steps, scales);
  uint16_t* first = work + 2 * cols;
  uint16_t* second = first + kTileElements;
  clear_sums<2, P>();
  for (int s = 0; s < steps; ++s) {
    q8_tile(codes, scales, first_rows, steps, s, first);
    q8_tile(codes + kTile * cols, scales + kTile * steps, num_rows - first_rows, steps, s, second);
    load_weights<2>(first, second, 64);
    const size_t at = size_t(s) * kTileElements;
    add_products<2, P>(panels + at, panels + at + panel_elements);
    if (low != nullptr) add_products<2, P>(low + at, low + at + panel_elements);
  }
  write_tiles<2, P>(args, row, num_rows, 0, bias, y);
}

void linear_q8(const LinearArgs& args, int begin, int end, const uint16_t* panels, const uint16_t* low,
               const Q8Weights& w, const float* bias, float* y, uint16_t* work) {
  const int num_panels = panels_of(args.rows);
  if (num_panels <= 2) {
    const TileRegisters registers;
    for (int r = begin; r < min_of(begin + 2 * kTile, end); ++r) {
      for (int at = 0; at < kQ8Ahead; at += 64) __builtin_prefetch(w.codes + size_t(r) * args.in + at, 0, 2);
    }
    for (int row = begin; row < end; row += 2 * kTile) {
      const auto rows32 = num_panels == 2 ? q8_rows32<2> : q8_rows32<1>;
      rows32(args, row, min_of(2 * kTile, end - row), panels, low, w, bias, y, work);
    }
    return;
  }
  const size_t cols = size_t(args.in), steps = cols / kTileK;
  for (int row = begin; row < end; row += kQ8Rows) {
    const int num_rows = min_of(kQ8Rows, end - row);
    const int8_t* codes = w.codes + size_t(row) * cols;
    const uint16_t* scales = w.scales + size_t(row) * steps;
    for (size_t b = 0; b < size_t(num_rows) * steps; ++b) {
      round_q8(codes + b * kTileK, q8_scale(scales[b]), work + b * kTileK);
    }
    linear(args, 0, num_rows, panels, low, work, bias != nullptr ? bias + row : nullptr, y + row);
  }
}
