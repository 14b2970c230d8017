// Products of MXFP4 and Q8 weights in strips (strips.h) on AMX tiles:
//   linear_q8  as linear, w[r,k] = bf16(code·scale)      experts    as in experts.inl
//
// Weights are the right operand, [16 pairs of k][16 rows][2]. Unpacking to this layout needs no broadcast and no
// transposition: a lane is a row, so a whole tile needs one vector of scales. 32 weights take 3 instructions in MXFP4
// and 8 in Q8. Activations are the left operand, [32 k] of 16 rows, and the sums have a row for each token.
//
// For one or two panels, a step is unpacked in L1 while the one before is multiplied. For more, a whole strip is
// unpacked in L2, and the panels pass over it. One activation row times MXFP4, as in one user's decode, is multiplied
// in float32 lanes instead: tiles would have to be stored and loaded first.
//
// All give the same bits. A tile product adds (Σ even k) + (Σ odd k) of its 32 k to the sum, where each Σ is a chain of
// fused multiply-adds from 0; so do the lanes. (Tiles treat products and sums below 2^-126 as zeros, lanes do not, so
// such a small sum may differ.)

// Bytes between the unpacked and the prefetched data: the hardware prefetcher stops at every page. Two cores read MXFP4
// at 28 GB/s with it, 24 without; a plain read reaches 33.
constexpr int kStripAhead = 4096;
constexpr int kStripStep = 2 * kTileElements;  // bf16 of one step of a strip

void pack_left(int cols, const float* const* rows /*[num_rows] of [cols]*/, int num_rows,
               uint16_t* panel /*[panel_cols/32, 16, 32]*/, uint16_t* low /*the same or null*/) {
  for (int k = 0; k < cols; k += kTileK) {
    const __mmask32 inside = first_columns(cols - k);
    for (int i = 0; i < kTile; ++i) {
      __m512 x[2] = {};
      if (i < num_rows) {
        x[0] = _mm512_maskz_loadu_ps(__mmask16(inside), rows[i] + k);
        x[1] = _mm512_maskz_loadu_ps(__mmask16(inside >> 16), rows[i] + k + 16);
      }
      const size_t at = size_t(k) * kTile + size_t(i) * kTileK;
      _mm512_store_si512(panel + at, narrowed(x[0], x[1]));
      if (low != nullptr) _mm512_store_si512(low + at, narrowed(rounding_error(x[0]), rounding_error(x[1])));
    }
  }
}

// The steps of a strip of MXFP4.
struct Mxfp4Strip {
  static constexpr size_t kStepBytes = size_t(kStripRows) * kMxBlockBytes;
  const uint8_t* codes;   // [steps, 2, 4, 16] dwords
  const uint8_t* scales;  // [steps, 32]

  void unpack(int step, uint16_t* tiles) const {
    // An index has 5 bits, and the highest belongs to a neighbour. So both halves of the table are equal.
    alignas(64) static constexpr uint16_t kValues[32] = {OSS_E2M1_BF16, OSS_E2M1_BF16};
    const __m512i values = _mm512_load_si512(kValues);
    const uint8_t* from = codes + size_t(step) * kStepBytes;
    const uint8_t* exponents = scales + size_t(step) * kStripRows;
    if (step % 2 == 0) __builtin_prefetch(exponents + kStripAhead / kMxBlockBytes, 0, 2);
    for (int tile = 0; tile < 2; ++tile) {
      const __m512i e =
          _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(exponents + tile * kTile)));
      const __m512i drop = _mm512_slli_epi32(_mm512_sub_epi32(_mm512_set1_epi32(252), e), 7);  // as kExponentDrops
      const __m512i drops = _mm512_or_si512(drop, _mm512_slli_epi32(drop, 16));
      OSS_UNROLL for (int q = 0; q < 4; ++q, from += 64, tiles += 4 * kTileK) {
        __builtin_prefetch(from + kStripAhead, 0, 2);
        const __m512i word = _mm512_loadu_si512(from);
        OSS_UNROLL for (int i = 0; i < 4; ++i) {
          const __m512i value = _mm512_permutexvar_epi16(_mm512_srli_epi16(word, unsigned(4 * i)), values);
          _mm512_store_si512(tiles + i * kTileK, _mm512_subs_epu16(value, drops));
        }
        asm volatile("" ::: "memory");  // otherwise all loads are issued at once and stall
      }
    }
  }

  // sums[tile] += products with one row of 32 activations. The scale, a power of two, is applied at the end.
  void add_row(int step, const float* x, __m512 (&sums)[2]) const {
    const __m512 values = _mm512_setr_ps(0, 0.5f, 1, 1.5f, 2, 3, 4, 6, 0, -0.5f, -1, -1.5f, -2, -3, -4, -6);
    const uint8_t* from = codes + size_t(step) * kStepBytes;
    const uint8_t* exponents = scales + size_t(step) * kStripRows;
    if (step % 2 == 0) __builtin_prefetch(exponents + kStripAhead / kMxBlockBytes, 0, 2);
    OSS_UNROLL for (int tile = 0; tile < 2; ++tile) {
      __m512 even = _mm512_setzero_ps(), odd = _mm512_setzero_ps();
      OSS_UNROLL for (int q = 0; q < 4; ++q, from += 64) {
        __builtin_prefetch(from + kStripAhead, 0, 2);
        const __m512i word = _mm512_loadu_si512(from);
        OSS_UNROLL for (int i = 0; i < 4; ++i) {
          const float* pair = x + 2 * (4 * q + i);
          const __m512i second = _mm512_srli_epi32(word, unsigned(16 + 4 * i));
          const __m512i first = _mm512_srli_epi32(word, unsigned(4 * i));
          even = _mm512_fmadd_ps(_mm512_permutexvar_ps(first, values), _mm512_set1_ps(pair[0]), even);
          odd = _mm512_fmadd_ps(_mm512_permutexvar_ps(second, values), _mm512_set1_ps(pair[1]), odd);
        }
        asm volatile("" ::: "memory");
      }
      const __m512i e =
          _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(exponents + tile * kTile)));
      const __m512 scale = _mm512_castsi512_ps(_mm512_slli_epi32(e, 23));
      sums[tile] = _mm512_fmadd_ps(_mm512_add_ps(even, odd), scale, sums[tile]);
    }
  }
};

// The steps of a strip of Q8.
struct Q8Strip {
  static constexpr size_t kStepBytes = size_t(kStripRows) * kQ8Block;
  const int8_t* codes;     // [steps, 2, 16, 16, 2]
  const uint16_t* scales;  // [steps, 32]

  void unpack(int step, uint16_t* tiles) const {
    const int8_t* from = codes + size_t(step) * kStepBytes;
    const uint16_t* halves = scales + size_t(step) * kStripRows;
    const __m512i twice = _mm512_set_epi32(7, 7, 6, 6, 5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 0, 0);
    const __m512i eighth = _mm512_set1_epi32(8);
    __builtin_prefetch(halves + kStripAhead / kTileK, 0, 2);
    for (int tile = 0; tile < 2; ++tile) {
      const __m512 scale = _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(halves + tile * kTile)));
      const Vec first = _mm512_permutexvar_ps(twice, scale);
      const Vec second = _mm512_permutexvar_ps(_mm512_or_si512(twice, eighth), scale);
      OSS_UNROLL for (int pair = 0; pair < kTile; ++pair, from += kTileK, tiles += kTileK) {
        if (pair % 2 == 0) __builtin_prefetch(from + kStripAhead, 0, 2);
        _mm512_store_si512(tiles, rounded(load_int8(from) * first, load_int8(from + kLanes) * second).v);
        if (pair % 2 == 1) asm volatile("" ::: "memory");
      }
    }
  }
};

// The sums of P panels × 2 weight tiles are in tiles 0 to 3, panel by panel.
template <int P>
inline void clear_strip_sums() {
  _tile_zero(0);
  _tile_zero(1);
  if constexpr (P == 2) _tile_zero(2);
  if constexpr (P == 2) _tile_zero(3);
}
template <int P>
inline void store_strip_sums(float (&sums)[2][2][kTile * kTile]) {
  _tile_stored(0, sums[0][0], 64);
  _tile_stored(1, sums[0][1], 64);
  if constexpr (P == 2) _tile_stored(2, sums[1][0], 64);
  if constexpr (P == 2) _tile_stored(3, sums[1][1], 64);
}
template <int P>
inline void load_left(const uint16_t* x, size_t panel_elements) {
  OSS_LOAD_TILE(6, x, 64);
  if constexpr (P == 2) OSS_LOAD_TILE(7, x + panel_elements, 64);
}
template <int P>
inline void add_left() {
  _tile_dpbf16ps(0, 6, 4);
  _tile_dpbf16ps(1, 6, 5);
  if constexpr (P == 2) _tile_dpbf16ps(2, 7, 4);
  if constexpr (P == 2) _tile_dpbf16ps(3, 7, 5);
}

// The activations of one product: panels of [steps, 16, 32], and their rounding errors or null.
struct LeftPanels {
  const uint16_t* high;
  const uint16_t* low;
  size_t panel_elements;

  LeftPanels from(int panel) const {
    const size_t at = size_t(panel) * panel_elements;
    return {high + at, low != nullptr ? low + at : nullptr, panel_elements};
  }
};

template <int P>
inline void multiply_step(const uint16_t* tiles, const LeftPanels& x, int step) {
  const size_t at = size_t(step) * kTileElements;
  load_left<P>(x.high + at, x.panel_elements);
  OSS_LOAD_TILE(4, tiles, 64);
  OSS_LOAD_TILE(5, tiles + kTileElements, 64);
  add_left<P>();
  if (x.low == nullptr) return;
  load_left<P>(x.low + at, x.panel_elements);
  add_left<P>();
}

// Four buffers in rotation, so that unpacking the next step never waits for a tile that is still being loaded.
template <int P, typename Strip>
inline void stream_strip(int steps, const Strip& strip, const LeftPanels& x, uint16_t* work,
                         float (&sums)[2][2][kTile * kTile]) {
  clear_strip_sums<P>();
  strip.unpack(0, work);
  for (int s = 1; s < steps; ++s) {
    strip.unpack(s, work + (s & 3) * kStripStep);
    multiply_step<P>(work + ((s - 1) & 3) * kStripStep, x, s - 1);
  }
  multiply_step<P>(work + ((steps - 1) & 3) * kStripStep, x, steps - 1);
  store_strip_sums<P>(sums);
}

template <int P>
inline void pass_over_strip(int steps, const uint16_t* tiles, const LeftPanels& x, float (&sums)[2][2][kTile * kTile]) {
  clear_strip_sums<P>();
  for (int s = 0; s < steps; ++s) multiply_step<P>(tiles + size_t(s) * kStripStep, x, s);
  store_strip_sums<P>(sums);
}

// One row of activations, the first of a panel, as float32.
inline void widen_row(int steps, const uint16_t* panel, float* x /*[steps, 32]*/) {
  for (int s = 0; s < steps; ++s) {
    for (int half = 0; half < kTileK; half += kLanes) {
      store(x + s * kTileK + half, load_bf16(panel + size_t(s) * kTileElements + half));
    }
  }
}

// Room for an unpacked strip, or for four steps of it; a row of activations is smaller.
static_assert(kStripRows == 32 && 4 * kStripStep == 4096);  // most_packed_work_elements()
size_t strip_work_elements(int cols) {
  const size_t strip = size_t(kStripRows) * panel_cols(cols), ring = 4 * kStripStep;
  return strip > ring ? strip : ring;
}

// Multiplies a strip with all panels. finish(p, sums) gets the sums of panel p and, if it exists, p + 1: [2 panels][2
// weight tiles][16 tokens][16 rows].
template <typename Strip, typename Finish>
void multiply_strip(int steps, const Strip& strip, int num_panels, const LeftPanels& x, uint16_t* work,
                    const Finish& finish) {
  alignas(64) float sums[2][2][kTile * kTile];
  if (num_panels == 1) {
    stream_strip<1>(steps, strip, x, work, sums);
    return finish(0, sums);
  }
  if (num_panels == 2) {
    stream_strip<2>(steps, strip, x, work, sums);
    return finish(0, sums);
  }
  for (int s = 0; s < steps; ++s) strip.unpack(s, work + size_t(s) * kStripStep);
  for (int p = 0; p < num_panels; p += 2) {
    if (p + 1 < num_panels) {
      pass_over_strip<2>(steps, work, x.from(p), sums);
    } else {
      pass_over_strip<1>(steps, work, x.from(p), sums);
    }
    finish(p, sums);
  }
}

void linear_q8(const LinearArgs& args, int begin, int end, const uint16_t* panels, const uint16_t* low,
               const Q8Weights& w, const float* bias, float* y, uint16_t* work) {
  const TileRegisters registers;
  const int num_panels = panels_of(args.rows), steps = args.in / kTileK;
  const LeftPanels x = {panels, low, size_t(args.in) * kTile};
  for (int row = begin; row < end; row += kStripRows) {
    const Q8Strip strip = {w.codes + size_t(row) * args.in, w.scales + size_t(row) * steps};
    multiply_strip(steps, strip, num_panels, x, work, [&](int first, const auto& sums) {
      for (int p = first; p < min_of(first + 2, num_panels); ++p) {
        for (int r = 0; r < 2; ++r) {
          const int at = row + r * kTile;
          if (at >= end) break;
          const __mmask16 lanes = first_lanes(min_of(kTile, end - at));
          const __m512 b = bias != nullptr ? _mm512_maskz_loadu_ps(lanes, bias + at) : _mm512_setzero_ps();
          for (int t = 0; t < min_of(kTile, args.rows - p * kTile); ++t) {
            float* to = y + size_t(p * kTile + t) * args.out + at;
            __m512 value = _mm512_add_ps(_mm512_load_ps(sums[p - first][r] + t * kTile), b);
            if (args.accumulate != 0) value = _mm512_add_ps(_mm512_maskz_loadu_ps(lanes, to), value);
            _mm512_mask_storeu_ps(to, lanes, value);
          }
        }
      }
    });
  }
}

// Multiplies the strips of an expert with the rows of its pairs: one pair in lanes, more in tiles.
class ExpertProduct {
 public:
  ExpertProduct(const ExpertWeights& w, int cols, int num_pairs, const uint16_t* panels, uint16_t* work)
      : w_(w), steps_(cols / kTileK), num_pairs_(num_pairs), x_{panels, nullptr, size_t(cols) * kTile}, work_(work) {
    if (num_pairs == 1) widen_row(steps_, panels, reinterpret_cast<float*>(work));
  }

  // As multiply_strip; with one pair, the sums cover only its row.
  template <typename Finish>
  void multiply(int row, const Finish& finish) const {
    const Mxfp4Strip strip = {w_.blocks + size_t(row) * steps_ * kMxBlockBytes, w_.scales + size_t(row) * steps_};
    if (num_pairs_ > 1) return multiply_strip(steps_, strip, panels_of(num_pairs_), x_, work_, finish);
    const float* x = reinterpret_cast<const float*>(work_);
    __m512 row_sums[2] = {};
    for (int s = 0; s < steps_; ++s) strip.add_row(s, x + s * kTileK, row_sums);
    alignas(64) float sums[2][2][kTile * kTile];
    for (int r = 0; r < 2; ++r) _mm512_store_ps(sums[0][r], row_sums[r]);
    finish(0, sums);
  }

 private:
  const ExpertWeights& w_;
  int steps_, num_pairs_;
  LeftPanels x_;
  uint16_t* work_;
};

// A strip of gate_up gives 16 units.
void experts_gate_up(const ExpertsArgs& args, const ExpertWeights& w, int begin, int end, int num_pairs,
                     const float* const* added, const uint16_t* panels, uint16_t* act_panels, uint16_t* work) {
  const TileRegisters registers;
  const int num_panels = panels_of(num_pairs);
  const ExpertProduct product(w, args.hidden, num_pairs, panels, work);
  const __m512i even = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
  const __m512i odd = _mm512_or_si512(even, _mm512_set1_epi32(1));
  for (int unit = begin; unit < end; unit += kTile) {
    const auto rows_of = [&](const float* from, __m512i which) {
      return Vec(
          _mm512_permutex2var_ps(_mm512_loadu_ps(from + 2 * unit), which, _mm512_loadu_ps(from + 2 * unit + kTile)));
    };
    const Vec gate_bias = rows_of(w.bias, even), up_bias = rows_of(w.bias, odd);
    product.multiply(2 * unit, [&](int first, const auto& sums) {
      for (int p = first; p < min_of(first + 2, num_panels); ++p) {
        uint16_t* act =
            act_panels + size_t(p) * args.intermediate * kTile + size_t(unit / kTileK) * kTileElements + unit % kTileK;
        for (int t = 0; t < min_of(kTile, num_pairs - p * kTile); ++t) {
          Vec gate = load(sums[p - first][0] + t * kTile) + gate_bias;
          Vec up = load(sums[p - first][1] + t * kTile) + up_bias;
          if (const float* term = added != nullptr ? added[p * kTile + t] : nullptr; term != nullptr) {
            gate = gate + rows_of(term, even);
            up = up + rows_of(term, odd);
          }
          store_bf16(act + t * kTileK, swiglu(gate, up, args.alpha, args.limit));
        }
      }
    });
  }
}

void experts_down(const ExpertsArgs& args, const ExpertWeights& w, int begin, int end, const int32_t* pairs,
                  int num_pairs, const uint16_t* act_panels, float* out, uint16_t* work) {
  const TileRegisters registers;
  const int num_panels = panels_of(num_pairs);
  const ExpertProduct product(w, args.intermediate, num_pairs, act_panels, work);
  for (int row = begin; row < end; row += kStripRows) {
    const Vec bias[2] = {load(w.bias + row), load(w.bias + row + kTile)};
    product.multiply(row, [&](int first, const auto& sums) {
      for (int p = first; p < min_of(first + 2, num_panels); ++p) {
        for (int t = 0; t < min_of(kTile, num_pairs - p * kTile); ++t) {
          float* to = out + size_t(pairs[p * kTile + t]) * args.hidden + row;
          for (int r = 0; r < 2; ++r) store(to + r * kTile, load(sums[p - first][r] + t * kTile) + bias[r]);
        }
      }
    });
  }
}
