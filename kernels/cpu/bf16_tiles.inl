// AMX tiles, and products of bf16 weights in the layout of the file:
//   linear    y[t,r] (=|+=) Σ_k x[t,k]·w[r,k] + bias[r]
//
// A product is 16 rows × 32 k by 32 k × 16 rows in one instruction, 16 cycles. The left operand is plain rows: the
// weights. The right operand is [16 pairs of k][16 rows][2]: activations, packed once per operation, 16 rows to a
// panel, 1 KB for each 32 k. MXFP4 and Q8 must be unpacked in any case, so they are the right operand
// (bf16_strips.inl). A panel with one row costs as much as one with 16; decode is not slowed by that.
//
// The sums of a tile element run along k, 32 at a time, in one tile register. They are the same for every number of
// rows.

constexpr int kTile = 16;   // rows of a tile, weights' and activations'
constexpr int kTileK = 32;  // k of a tile
constexpr int kTileElements = kTile * kTileK;
static_assert(kTileK == kMxBlock);
// Panels that pass over a range of bf16 weights together: 128 rows of 2880 are 737 KB of L2.
constexpr int kBlockPanels = 8;

struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
constexpr TileConfig kTileConfig;

// Configures the tile registers for the duration of a kernel: 0 to 3 sums, 4 and 5 weights, 6 and 7 activations.
struct TileRegisters {
  TileRegisters() { _tile_loadconfig(&kTileConfig); }
  ~TileRegisters() { _tile_release(); }
  TileRegisters(const TileRegisters&) = delete;
  TileRegisters& operator=(const TileRegisters&) = delete;
};

// GCC 12's _tile_loadd does not declare that it reads memory. A store could move past it, or be removed when another
// store follows.
#define OSS_LOAD_TILE(tile, from, row_bytes) \
  do {                                       \
    asm volatile("" ::: "memory");           \
    _tile_loadd(tile, from, row_bytes);      \
    asm volatile("" ::: "memory");           \
  } while (false)

// The sums of R weight tiles × P panels.
template <int R, int P>
inline void clear_sums() {
  _tile_zero(0);
  if constexpr (P == 2) _tile_zero(1);
  if constexpr (R == 2) _tile_zero(2);
  if constexpr (R == 2 && P == 2) _tile_zero(3);
}
template <int R>
inline void load_weights(const uint16_t* first, const uint16_t* second, size_t row_bytes) {
  OSS_LOAD_TILE(4, first, row_bytes);
  if constexpr (R == 2) OSS_LOAD_TILE(5, second, row_bytes);
}
template <int R, int P>
inline void add_products(const uint16_t* first, const uint16_t* second) {
  OSS_LOAD_TILE(6, first, 64);
  if constexpr (P == 2) OSS_LOAD_TILE(7, second, 64);
  _tile_dpbf16ps(0, 4, 6);
  if constexpr (P == 2) _tile_dpbf16ps(1, 4, 7);
  if constexpr (R == 2) _tile_dpbf16ps(2, 5, 6);
  if constexpr (R == 2 && P == 2) _tile_dpbf16ps(3, 5, 7);
}
// sums[r][p] = [16 weight rows][16 activation rows]
template <int R, int P>
inline void store_sums(float (&sums)[2][2][kTile * kTile]) {
  _tile_stored(0, sums[0][0], 64);
  if constexpr (P == 2) _tile_stored(1, sums[0][1], 64);
  if constexpr (R == 2) _tile_stored(2, sums[1][0], 64);
  if constexpr (R == 2 && P == 2) _tile_stored(3, sums[1][1], 64);
}

inline int min_of(int a, int b) { return a < b ? a : b; }
inline int panels_of(int rows) { return (rows + kTile - 1) / kTile; }
inline __mmask16 first_lanes(int n) { return __mmask16((1u << n) - 1u); }
inline __mmask32 first_columns(int n) { return n < kTileK ? (1u << n) - 1u : ~0u; }

// Sixteen rows of 16 dwords become 16 columns.
inline void store_transposed(const __m512i (&rows)[kTile], uint16_t* tile) {
  alignas(64) float block[kTile * kTile];
  OSS_UNROLL for (int i = 0; i < kTile; ++i) _mm512_store_si512(block + i * kTile, rows[i]);
  transpose16(block, kTile, reinterpret_cast<float*>(tile), kTile);
}

inline __m512i narrowed(__m512 low_half, __m512 high_half) { return __m512i(_mm512_cvtne2ps_pbh(high_half, low_half)); }
inline __m512 rounding_error(__m512 x) {
  const __m512i rounded = _mm512_slli_epi32(_mm512_cvtepu16_epi32(__m256i(_mm512_cvtneps_pbh(x))), 16);
  return _mm512_sub_ps(x, _mm512_castsi512_ps(rounded));
}
inline void pack_step(const __m512 (&x)[kTile][2], uint16_t* panel, uint16_t* low) {
  __m512i rows[kTile];
  OSS_UNROLL for (int i = 0; i < kTile; ++i) rows[i] = narrowed(x[i][0], x[i][1]);
  store_transposed(rows, panel);
  if (low == nullptr) return;
  OSS_UNROLL for (int i = 0; i < kTile; ++i) rows[i] = narrowed(rounding_error(x[i][0]), rounding_error(x[i][1]));
  store_transposed(rows, low);
}

void pack(int cols, const float* const* rows /*[num_rows] of [cols]*/, int num_rows,
          uint16_t* panel /*[panel_cols/32, 16, 16, 2]*/, uint16_t* low /*the same or null*/) {
  __m512 x[kTile][2] = {};
  for (int k = 0; k < cols; k += kTileK) {
    const __mmask32 inside = first_columns(cols - k);
    for (int i = 0; i < num_rows; ++i) {
      x[i][0] = _mm512_maskz_loadu_ps(__mmask16(inside), rows[i] + k);
      x[i][1] = _mm512_maskz_loadu_ps(__mmask16(inside >> 16), rows[i] + k + 16);
    }
    const size_t at = size_t(k) * kTile;
    pack_step(x, panel + at, low != nullptr ? low + at : nullptr);
  }
}

// y[t, row + r] for the tokens of a panel and n <= 16 weight rows.
inline void write_rows(const float* sums /*[16 weight rows][16 tokens]*/, int tokens, int n, const float* bias,
                       bool accumulate, float* y, size_t stride) {
  alignas(64) float by_token[kTile * kTile];
  transpose16(sums, kTile, by_token, kTile);
  const __mmask16 lanes = first_lanes(n);
  const __m512 b = bias != nullptr ? _mm512_maskz_loadu_ps(lanes, bias) : _mm512_setzero_ps();
  for (int t = 0; t < tokens; ++t, y += stride) {
    __m512 value = _mm512_add_ps(_mm512_load_ps(by_token + t * kTile), b);
    if (accumulate) value = _mm512_add_ps(_mm512_maskz_loadu_ps(lanes, y), value);
    _mm512_mask_storeu_ps(y, lanes, value);
  }
}

// The sums of weight rows [row, row + num_rows), at most 16·R, for panels [panel, panel + P).
template <int R, int P>
inline void write_tiles(const LinearArgs& args, int row, int num_rows, int panel, const float* bias, float* y) {
  alignas(64) float sums[2][2][kTile * kTile];
  store_sums<R, P>(sums);
  for (int r = 0; r < R; ++r) {
    for (int p = 0; p < P; ++p) {
      const int first = (panel + p) * kTile, at = row + r * kTile;
      if (at >= row + num_rows) break;
      write_rows(sums[r][p], min_of(kTile, args.rows - first), min_of(kTile, row + num_rows - at),
                 bias != nullptr ? bias + at : nullptr, args.accumulate != 0, y + size_t(first) * args.out + at,
                 size_t(args.out));
    }
  }
}

// Weight rows [row, row + num_rows), at most 16·R, for panels [panel, panel + P).
template <int R, int P>
void linear_tiles(const LinearArgs& args, int row, int num_rows, int panel, const uint16_t* panels, const uint16_t* low,
                  const uint16_t* weights, const float* bias, float* y) {
  const size_t cols = size_t(args.in), panel_elements = size_t(panel_cols(args.in)) * kTile;
  const uint16_t* x = panels + size_t(panel) * panel_elements;
  const uint16_t* x_low = low != nullptr ? low + size_t(panel) * panel_elements : nullptr;
  const uint16_t* w = weights + size_t(row) * cols;
  alignas(64) uint16_t partial[R * kTileElements] = {};  // copies of tiles that reach past the last row or column
  clear_sums<R, P>();
  for (size_t k = 0; k < cols; k += kTileK) {
    const size_t at = k * kTile;
    if (num_rows < R * kTile || k + kTileK > cols) {
      const __mmask32 inside = first_columns(int(cols - k));
      for (int r = 0; r < num_rows; ++r) {
        _mm512_store_si512(partial + r * kTileK, _mm512_maskz_loadu_epi16(inside, w + size_t(r) * cols + k));
      }
      load_weights<R>(partial, partial + kTileElements, 64);
    } else {
      load_weights<R>(w + k, w + kTile * cols + k, cols * sizeof(uint16_t));
    }
    add_products<R, P>(x + at, x + at + panel_elements);
    if (x_low != nullptr) add_products<R, P>(x_low + at, x_low + at + panel_elements);
  }
  write_tiles<R, P>(args, row, num_rows, panel, bias, y);
}

void linear(const LinearArgs& args, int begin, int end, const uint16_t* panels, const uint16_t* low, const uint16_t* w,
            const float* bias, float* y) {
  const TileRegisters registers;
  const int num_panels = panels_of(args.rows);
  for (int block = 0; block < num_panels; block += kBlockPanels) {
    const int block_end = min_of(block + kBlockPanels, num_panels);
    for (int row = begin; row < end; row += 2 * kTile) {
      const int rows = min_of(2 * kTile, end - row);
      for (int p = block; p < block_end; p += 2) {
        if (p + 1 < block_end) {
          linear_tiles<2, 2>(args, row, rows, p, panels, low, w, bias, y);
        } else {
          linear_tiles<2, 1>(args, row, rows, p, panels, low, w, bias, y);
        }
      }
    }
  }
}
