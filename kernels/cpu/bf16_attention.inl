// Attention on AMX tiles (attention.inl has the equations and the cache). A panel is 16 query rows of one kv head, from
// the heads of consecutive tokens.
//   scores  [keys][rows] = K [keys][dims] · Q [dims][rows]     softmax down the keys, one query row per lane
//   out     [rows][dims] += P [rows][keys] · V [keys][dims]    P is transposed on the way, V never is
//
// Float32 numbers are split into two bf16, x = high + low, with an error of at most 2^-16 |x|. A product is high·low +
// high·high + low·high; the missing low·low is at most 2^-16 of it. So the error of a score is at most 3 · 2^-16 ·
// scale · Σ |q·k|. Rounding the activations behind queries and keys costs about 2^6 times more.
//
// Probabilities and values are split likewise. Without the low part of p, a result could have an error of 2^-8 of
// itself, as if rounded for the next product. A bf16 cache has no low part, and its keys are used as tiles in place.
//
// Every sum runs along dims or keys, in the same order for all rows. A key that a row does not see adds a zero. So the
// bits of a row depend only on its position, not on its panel, its task or their other rows.
//
// A page costs a panel 48 products (bf16 cache: 32) of 16 cycles, 64 vector exps, and 14 KB of L2 for its queries,
// probabilities and sums. Converting a page costs as much as two to three panels.

// Tokens of a task: 16 panels of the 20b, 140 KB of L2 beside their sums, for each conversion of a page.
constexpr int kAttentionTileTokens = 32;
constexpr int kHalfKeys = kTileK;  // one step along the keys takes half a page
constexpr int kDimTiles = kHeadDim / kTile, kDimSteps = kHeadDim / kTileK;
constexpr size_t kPlane = size_t(kPageTokens) * kHeadDim;  // keys or values of one head in one page
constexpr size_t kPanelElements = size_t(kTile) * kHeadDim;
static_assert(kHeadDim == 64 && kPageTokens == 64);  // four tiles of sums, two steps along k

// Pairs of numbers, one per dword, as the tile product reads them: a in the low word, b in the high word. Ties round
// away from zero.
struct SplitPairs {
  __m512i high, low;
};
inline SplitPairs split_pairs(__m512 a, __m512 b) {
  const __m512i half = _mm512_set1_epi32(0x8000), upper = _mm512_set1_epi32(int(0xFFFF0000u));
  const __m512i down = _mm512_broadcast_i32x4(_mm_setr_epi8(2, 3, 0, 0, 6, 7, 0, 0, 10, 11, 0, 0, 14, 15, 0, 0));
  const auto join = [&](__m512i first, __m512i second) {  // joins their high words
    return _mm512_mask_shuffle_epi8(second, 0x3333333333333333u, first, down);
  };
  const __m512i a_high = _mm512_add_epi32(_mm512_castps_si512(a), half);
  const __m512i b_high = _mm512_add_epi32(_mm512_castps_si512(b), half);
  const __m512 a_low = _mm512_sub_ps(a, _mm512_castsi512_ps(_mm512_and_si512(a_high, upper)));
  const __m512 b_low = _mm512_sub_ps(b, _mm512_castsi512_ps(_mm512_and_si512(b_high, upper)));
  return {join(a_high, b_high),
          join(_mm512_add_epi32(_mm512_castps_si512(a_low), half), _mm512_add_epi32(_mm512_castps_si512(b_low), half))};
}
inline void store_split(SplitPairs pairs, uint16_t* high, uint16_t* low) {
  _mm512_store_si512(high, pairs.high);
  _mm512_store_si512(low, pairs.low);
}

// The memory that one task needs besides its state.
struct AttentionWork {
  alignas(64) uint16_t page[2][kPlane];               // high and low of the keys, then of the values
  alignas(64) float scores[kPageTokens * kTile];      // [64 keys][16 rows]
  alignas(64) float pairs[2][kHalfKeys / 2 * kTile];  // high and low: [16 pairs of keys][16 rows]
};
// ... and for each of its panels.
struct AttentionPanel {
  alignas(64) uint16_t q[2][kPanelElements];       // high and low: [step][16 pairs of dims][16 rows][2]
  alignas(64) uint16_t p[2][kPageTokens * kTile];  // high and low: [half][16 rows][16 pairs of keys][2]
  alignas(64) int32_t first[kTile], end[kTile];    // keys that a row sees
  alignas(64) float max[kTile], sum[kTile];        // of its softmax
};

// Halves [begin, end) of a page that a panel sees; none when begin >= end.
struct Halves {
  int begin, end;
};
inline Halves halves_of(const AttentionPanel& panel, int base /*key of the page*/) {
  const int first = panel.first[0] - base, end = min_of(panel.end[kTile - 1] - base, kPageTokens);
  return {first > 0 ? first / kHalfKeys : 0, (end + kHalfKeys - 1) / kHalfKeys};
}
inline bool sees_all(const AttentionPanel& panel, int base, Halves halves) {  // every row sees every key of the halves
  return panel.first[kTile - 1] <= base + halves.begin * kHalfKeys && panel.end[0] >= base + halves.end * kHalfKeys;
}

inline int attention_panels(const AttentionArgs& args, int tokens) {
  return panels_of(tokens * (args.heads / args.kv_heads));
}
static_assert(sizeof(AttentionWork) <= kMostAttentionWorkBytes && sizeof(AttentionPanel) <= kMostAttentionPanelBytes);
size_t attention_work(const AttentionArgs& args) {
  return (sizeof(AttentionWork) + size_t(attention_panels(args, kAttentionTileTokens)) * sizeof(AttentionPanel)) /
         sizeof(float);
}

// Pairs of dims: neighbours with a bf16 cache, otherwise dims that are 16 apart.
void pack_queries(KvType type, const float* const* rows /*[16]*/, AttentionPanel& panel) {
  alignas(64) float dims[kTileK * kTile];  // [32 dims][16 rows]
  alignas(64) float block[kTile * kTile];
  for (int step = 0; step < kDimSteps; ++step) {
    for (int d = 0; d < kTileK; d += kTile) {
      for (int i = 0; i < kTile; ++i) store(block + i * kTile, load(rows[i] + step * kTileK + d));
      transpose16(block, kTile, dims + d * kTile, kTile);
    }
    for (int j = 0; j < kTile; ++j) {
      const int a = type == kKvBF16 ? 2 * j : j, b = type == kKvBF16 ? a + 1 : a + kTile;
      const size_t at = size_t(step) * kTileElements + size_t(j) * kTileK;
      store_split(split_pairs(load(dims + a * kTile).v, load(dims + b * kTile).v), panel.q[0] + at, panel.q[1] + at);
    }
  }
}

// Keys or values of a page in tiles, and their rounding errors, or null.
struct PageTiles {
  const uint16_t *high, *low;
};

// [64 keys][64 dims], of which keys [begin, end) are set.
PageTiles convert_keys(const AttentionArgs& args, const AttentionTask& task, int page, int begin, int end,
                       AttentionWork& work) {
  const size_t at = (size_t(task.pages[page]) * 2 * args.kv_heads + task.kv_head) * kPlane;
  if (args.type == kKvBF16) return {static_cast<const uint16_t*>(task.cache) + at, nullptr};
  const float* keys = static_cast<const float*>(task.cache) + at;
  for (size_t i = size_t(begin) * kHeadDim; i < size_t(end) * kHeadDim; i += kTileK) {
    store_split(split_pairs(load(keys + i).v, load(keys + i + kTile).v), work.page[0] + i, work.page[1] + i);
  }
  return {work.page[0], work.page[1]};
}

// [half][dim tile][16 pairs of keys][16 dims][2] with keys [begin, end). The other keys of the same halves are zeros:
// their probability is 0, but 0 · NaN is NaN.
PageTiles convert_values(const AttentionArgs& args, const AttentionTask& task, int page, int begin, int end,
                         AttentionWork& work) {
  const size_t at = (size_t(task.pages[page]) * 2 * args.kv_heads + args.kv_heads + task.kv_head) * kPlane;
  const bool wide = args.type == kKvF32;
  const int pair_end = (end + kHalfKeys - 1) / kHalfKeys * kTile;
  for (int pair = begin / kHalfKeys * kTile; pair < pair_end; ++pair) {
    const int key = 2 * pair;
    const auto lanes = [&](int k) { return __mmask16(k >= begin && k < end ? 0xFFFF : 0); };
    const __mmask16 a = lanes(key), b = lanes(key + 1);
    const size_t from = at + size_t(key) * kHeadDim;
    const size_t to = size_t(pair / kTile) * kHalfKeys * kHeadDim + size_t(pair % kTile) * kTileK;
    if (wide) {
      const float* row = static_cast<const float*>(task.cache) + from;
      OSS_UNROLL for (int t = 0; t < kDimTiles; ++t) {
        store_split(split_pairs(_mm512_maskz_loadu_ps(a, row + t * kTile),
                                _mm512_maskz_loadu_ps(b, row + kHeadDim + t * kTile)),
                    work.page[0] + to + t * kTileElements, work.page[1] + to + t * kTileElements);
      }
    } else {
      const uint16_t* row = static_cast<const uint16_t*>(task.cache) + from;
      OSS_UNROLL for (int t = 0; t < kDimTiles; ++t) {
        const __m512i first = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(a, row + t * kTile));
        const __m512i second = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(b, row + kHeadDim + t * kTile));
        _mm512_store_si512(work.page[0] + to + t * kTileElements,
                           _mm512_or_si512(first, _mm512_slli_epi32(second, 16)));
      }
    }
  }
  return {work.page[0], wide ? work.page[1] : nullptr};
}

// The tile registers: 0 to 3 hold sums, 4 and 5 high and low of the panel, 6 and 7 of the page.

// Two tiles of keys, for sums 0 and 1 or 2 and 3.
template <int kFirst>
inline void add_scores(const uint16_t* keys, const uint16_t* low) {
  constexpr size_t kRowBytes = kHeadDim * sizeof(uint16_t), kNext = size_t(kTile) * kHeadDim;
  OSS_LOAD_TILE(6, keys, kRowBytes);
  OSS_LOAD_TILE(7, keys + kNext, kRowBytes);
  if constexpr (kFirst == 0) {
    _tile_dpbf16ps(0, 6, 5);
    _tile_dpbf16ps(1, 7, 5);
    _tile_dpbf16ps(0, 6, 4);
    _tile_dpbf16ps(1, 7, 4);
  } else {
    _tile_dpbf16ps(2, 6, 5);
    _tile_dpbf16ps(3, 7, 5);
    _tile_dpbf16ps(2, 6, 4);
    _tile_dpbf16ps(3, 7, 4);
  }
  if (low == nullptr) return;
  OSS_LOAD_TILE(6, low, kRowBytes);
  OSS_LOAD_TILE(7, low + kNext, kRowBytes);
  if constexpr (kFirst == 0) {
    _tile_dpbf16ps(0, 6, 4);
    _tile_dpbf16ps(1, 7, 4);
  } else {
    _tile_dpbf16ps(2, 6, 4);
    _tile_dpbf16ps(3, 7, 4);
  }
}

void score_page(const PageTiles& page, Halves halves, const AttentionPanel& panel, float* scores) {
  constexpr size_t kHalf = size_t(kHalfKeys) * kHeadDim;
  clear_sums<2, 2>();
  for (int step = 0; step < kDimSteps; ++step) {
    const uint16_t* keys = page.high + step * kTileK;
    const uint16_t* low = page.low != nullptr ? page.low + step * kTileK : nullptr;
    OSS_LOAD_TILE(4, panel.q[0] + step * kTileElements, 64);
    OSS_LOAD_TILE(5, panel.q[1] + step * kTileElements, 64);
    if (halves.begin == 0) add_scores<0>(keys, low);
    if (halves.end == 2) add_scores<2>(keys + kHalf, low != nullptr ? low + kHalf : nullptr);
  }
  if (halves.begin == 0) {
    _tile_stored(0, scores, 64);
    _tile_stored(1, scores + kTile * kTile, 64);
  }
  if (halves.end == 2) {
    _tile_stored(2, scores + 2 * kTile * kTile, 64);
    _tile_stored(3, scores + 3 * kTile * kTile, 64);
  }
}

inline void add_values(const uint16_t* values, const uint16_t* low) {
  OSS_LOAD_TILE(6, values, 64);
  OSS_LOAD_TILE(7, values + kTileElements, 64);
  _tile_dpbf16ps(0, 5, 6);
  _tile_dpbf16ps(1, 5, 7);
  _tile_dpbf16ps(0, 4, 6);
  _tile_dpbf16ps(1, 4, 7);
  OSS_LOAD_TILE(6, values + 2 * kTileElements, 64);
  OSS_LOAD_TILE(7, values + 3 * kTileElements, 64);
  _tile_dpbf16ps(2, 5, 6);
  _tile_dpbf16ps(3, 5, 7);
  _tile_dpbf16ps(2, 4, 6);
  _tile_dpbf16ps(3, 4, 7);
  if (low == nullptr) return;
  OSS_LOAD_TILE(6, low, 64);
  OSS_LOAD_TILE(7, low + kTileElements, 64);
  _tile_dpbf16ps(0, 4, 6);
  _tile_dpbf16ps(1, 4, 7);
  OSS_LOAD_TILE(6, low + 2 * kTileElements, 64);
  OSS_LOAD_TILE(7, low + 3 * kTileElements, 64);
  _tile_dpbf16ps(2, 4, 6);
  _tile_dpbf16ps(3, 4, 7);
}

void weigh_values(const PageTiles& page, Halves halves, const AttentionPanel& panel, float* state, int stride) {
  const size_t row_bytes = size_t(stride) * sizeof(float);
  OSS_LOAD_TILE(0, state, row_bytes);
  OSS_LOAD_TILE(1, state + kTile, row_bytes);
  OSS_LOAD_TILE(2, state + 2 * kTile, row_bytes);
  OSS_LOAD_TILE(3, state + 3 * kTile, row_bytes);
  for (int half = halves.begin; half < halves.end; ++half) {
    const size_t at = size_t(half) * kHalfKeys * kHeadDim;
    OSS_LOAD_TILE(4, panel.p[0] + half * kTileElements, 64);
    OSS_LOAD_TILE(5, panel.p[1] + half * kTileElements, 64);
    add_values(page.high + at, page.low != nullptr ? page.low + at : nullptr);
  }
  _tile_stored(0, state, row_bytes);
  _tile_stored(1, state + kTile, row_bytes);
  _tile_stored(2, state + 2 * kTile, row_bytes);
  _tile_stored(3, state + 3 * kTile, row_bytes);
}

constexpr float kNoScore = -__builtin_inff();
constexpr float kLog2E = 1.44269504f;

// 2^x with a relative error of 1.1e-7, and 1 for x = 0. exp of simd.h takes twice the instructions, half of them to
// replace scalef.
//   x = n + r, |r| <= ½:   2^x = 2^n · (1 + r·q(r)),  q minimax
inline __m512 exp2_of(__m512 x) {
  const __m512 n = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const __m512 r = _mm512_sub_ps(x, n);
  __m512 p = _mm512_set1_ps(0.001326472731307149f);
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.009671512991189957f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.05550733581185341f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.24022242426872253f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.6931470036506653f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
  return _mm512_scalef_ps(p, n);
}

// Turns scores into probabilities relative to the new maximum, and rescales the state to it. kAll: see sees_all().
template <bool kAll>
void softmax_tiles(float scale, int base, Halves halves, AttentionPanel& panel, AttentionWork& work, float* state,
                   int stride) {
  const int begin = halves.begin * kHalfKeys, end = halves.end * kHalfKeys;
  const __m512i seen_first = _mm512_load_si512(panel.first), seen_end = _mm512_load_si512(panel.end);
  const auto seen = [&](int key) {
    const __m512i at = _mm512_set1_epi32(base + key);
    return _mm512_mask_cmplt_epi32_mask(_mm512_cmple_epi32_mask(seen_first, at), at, seen_end);
  };
  const __m512 none = _mm512_set1_ps(kNoScore);
  __m512 best[4] = {none, none, none, none};
  for (int key = begin; key < end; key += 4) {
    OSS_UNROLL for (int i = 0; i < 4; ++i) {
      const __m512 s = _mm512_load_ps(work.scores + (key + i) * kTile);
      best[i] = _mm512_max_ps(best[i], kAll ? s : _mm512_mask_mov_ps(none, seen(key + i), s));
    }
  }
  const __m512 page_max = _mm512_max_ps(_mm512_max_ps(best[0], best[1]), _mm512_max_ps(best[2], best[3]));
  const __m512 before = _mm512_load_ps(panel.max);
  const __m512 max = _mm512_max_ps(before, _mm512_mul_ps(page_max, _mm512_set1_ps(scale)));
  // Before the first score any number will do, because the rescaled sums are 0.
  const __m512 reference = _mm512_max_ps(max, _mm512_set1_ps(-1e30f));
  const __m512 drop = _mm512_mul_ps(_mm512_sub_ps(before, reference), _mm512_set1_ps(kLog2E));
  const __m512 rescale = exp2_of(_mm512_max_ps(drop, _mm512_set1_ps(-200.0f)));
  const __m512 slope = _mm512_set1_ps(scale * kLog2E), offset = _mm512_mul_ps(reference, _mm512_set1_ps(kLog2E));

  __m512 total[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
  for (int half = begin; half < end; half += kHalfKeys) {
    for (int j = 0; j < kHalfKeys / 2; ++j) {
      __m512 p[2];
      OSS_UNROLL for (int i = 0; i < 2; ++i) {
        const int key = half + 2 * j + i;
        p[i] = exp2_of(_mm512_fmsub_ps(_mm512_load_ps(work.scores + key * kTile), slope, offset));
        if constexpr (!kAll) p[i] = _mm512_maskz_mov_ps(seen(key), p[i]);
        total[i] = _mm512_add_ps(total[i], p[i]);
      }
      const SplitPairs split = split_pairs(p[0], p[1]);
      _mm512_store_si512(work.pairs[0] + j * kTile, split.high);
      _mm512_store_si512(work.pairs[1] + j * kTile, split.low);
    }
    for (int part = 0; part < 2; ++part) {
      transpose16(work.pairs[part], kTile, reinterpret_cast<float*>(panel.p[part] + half * kTile), kTile);
    }
  }
  const __m512 sum = _mm512_load_ps(panel.sum);
  _mm512_store_ps(panel.max, max);
  _mm512_store_ps(panel.sum, _mm512_fmadd_ps(sum, rescale, _mm512_add_ps(total[0], total[1])));

  unsigned changed = _mm512_cmp_ps_mask(rescale, _mm512_set1_ps(1.0f), _CMP_NEQ_UQ);
  if (changed == 0) return;
  alignas(64) float factors[kTile];
  _mm512_store_ps(factors, rescale);
  for (; changed != 0; changed &= changed - 1) {
    const int i = __builtin_ctz(changed);
    float* row = state + size_t(i) * stride;
    OSS_UNROLL for (int d = 0; d < kHeadDim; d += kTile) store(row + d, load(row + d) * Vec(factors[i]));
  }
}

// The state of rows that fill up the last panel is undefined.
void attention_chunk(const AttentionArgs& args, const AttentionTask& task, int chunk, float* work_floats,
                     float* state) {
  const TileRegisters registers;
  AttentionWork& work = *reinterpret_cast<AttentionWork*>(work_floats);
  AttentionPanel* panels = reinterpret_cast<AttentionPanel*>(&work + 1);
  const int group = args.heads / args.kv_heads, stride = attention_state_stride(args);
  const int rows = task.tokens * group, num_panels = panels_of(rows);
  for (int p = 0; p < num_panels; ++p) {
    const float* from[kTile];
    for (int i = 0; i < kTile; ++i) {
      const int row = min_of(p * kTile + i, rows - 1), t = row / group;  // missing rows repeat the last one
      from[i] = task.q + (size_t(t) * args.heads + size_t(task.kv_head) * group + row % group) * kHeadDim;
      panels[p].first[i] = attention_first_key(args, task.positions[t]);
      panels[p].end[i] = task.positions[t] + 1;
      panels[p].max[i] = kNoScore;
      panels[p].sum[i] = 0;
      float* sums = state + size_t(p * kTile + i) * stride;
      OSS_UNROLL for (int d = 0; d < kHeadDim; d += kTile) store(sums + d, Vec(0.0f));
    }
    pack_queries(args.type, from, panels[p]);
  }

  const int first_key = panels[0].first[0], end_key = panels[num_panels - 1].end[kTile - 1];
  for (int page = chunk * kChunkPages; page < (chunk + 1) * kChunkPages; ++page) {
    const int base = page * kPageTokens;
    if (first_key >= base + kPageTokens || end_key <= base) continue;
    const int begin = first_key > base ? first_key - base : 0, end = min_of(end_key - base, kPageTokens);
    // First all panels use the keys, then all use the values. Keys or values take 16 KB of L1; both with a panel would
    // not fit.
    const PageTiles keys = convert_keys(args, task, page, begin, end, work);
    for (int p = 0; p < num_panels; ++p) {
      const Halves halves = halves_of(panels[p], base);
      if (halves.begin >= halves.end) continue;
      score_page(keys, halves, panels[p], work.scores);
      const auto softmax = sees_all(panels[p], base, halves) ? softmax_tiles<true> : softmax_tiles<false>;
      softmax(args.scale, base, halves, panels[p], work, state + size_t(p) * kTile * stride, stride);
    }
    const PageTiles values = convert_values(args, task, page, begin, end, work);
    for (int p = 0; p < num_panels; ++p) {
      const Halves halves = halves_of(panels[p], base);
      if (halves.begin < halves.end)
        weigh_values(values, halves, panels[p], state + size_t(p) * kTile * stride, stride);
    }
  }
  for (int row = 0; row < rows; ++row) {
    const AttentionPanel& panel = panels[row / kTile];
    float* part = state + size_t(row) * stride + kHeadDim;
    part[0] = panel.max[row % kTile];
    part[1] = panel.sum[row % kTile];
  }
}
