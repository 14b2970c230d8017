// Attention:  out[t,h] = Σ_j p[t,h,j] · v[j]      p = softmax over scale · q[t,h]·k[j] of the visible keys j and the
// sink
//   q, out  [tokens, heads, head_dim]  f32      query head h reads kv head h / (heads / kv_heads)
//   cache   [page][k, v][kv_head][kPageTokens][head_dim]  f32 or bf16      sinks  [heads]: one more score, no value
//   a query at position i sees keys j <= i and, with a window, j > i - window
//
// A decode step reads the visible keys and values once, 8·head_dim bytes per key and kv head (bf16: 4). It is
// memory-bound while the group of query heads (8) needs only one pass. A page of keys is transposed first, so that
// scores come out with one key per lane. In prefill, kAttentionTokens tokens share the transposed page in L1.
//
// bf16 is widened on the way: keys when they are transposed, values into a buffer, because every 4 heads of every token
// read the values again. All sums are float32, so a bf16 cache gives the same bits as an f32 cache with rounded keys
// and values.
//
// Online softmax (common/softmax.h) runs page by page, then chunk by chunk. Both have fixed places in the sequence, so
// the order of every sum depends on the position alone.

// out[r,c] += Σ_k a[r,k] · b[k,c] for an R × (C·16) tile, along k.
template <int R, int C>
void accumulate_tile(int n, const float* a, int a_stride, const float* b, int b_stride, float* out, int out_stride) {
  Vec sums[R][C];
  OSS_UNROLL for (int r = 0; r < R; ++r) {
    OSS_UNROLL for (int c = 0; c < C; ++c) sums[r][c] = load(out + size_t(r) * out_stride + c * kLanes);
  }
  for (int k = 0; k < n; ++k) {
    Vec row[C];
    OSS_UNROLL for (int c = 0; c < C; ++c) row[c] = load(b + size_t(k) * b_stride + c * kLanes);
    OSS_UNROLL for (int r = 0; r < R; ++r) {
      const Vec factor(a[size_t(r) * a_stride + k]);
      OSS_UNROLL for (int c = 0; c < C; ++c) sums[r][c] = fma(factor, row[c], sums[r][c]);
    }
  }
  OSS_UNROLL for (int r = 0; r < R; ++r) {
    OSS_UNROLL for (int c = 0; c < C; ++c) store(out + size_t(r) * out_stride + c * kLanes, sums[r][c]);
  }
}

template <int R>
void accumulate_rows(int n, int columns, const float* a, int a_stride, const float* b, int b_stride, float* out,
                     int out_stride) {
  int c = 0;
  for (; c + kTileColumns * kLanes <= columns; c += kTileColumns * kLanes) {
    accumulate_tile<R, kTileColumns>(n, a, a_stride, b + c, b_stride, out + c, out_stride);
  }
  for (; c + kLanes <= columns; c += kLanes) {
    accumulate_tile<R, 1>(n, a, a_stride, b + c, b_stride, out + c, out_stride);
  }
  for (; c < columns; ++c) {
    for (int r = 0; r < R; ++r) {
      float& total = out[size_t(r) * out_stride + c];
      for (int k = 0; k < n; ++k) total = fma(a[size_t(r) * a_stride + k], b[size_t(k) * b_stride + c], total);
    }
  }
}

// out[rows, columns] += a[rows, n] · b[n, columns], each sum along n.
void accumulate(int rows, int n, int columns, const float* a, int a_stride, const float* b, int b_stride, float* out,
                int out_stride) {
  constexpr int kRows = 4;  // heads of a group; AVX2 keeps 4 × 2 sums in registers, AVX-512 4 × 4
  int r = 0;
  for (; r + kRows <= rows; r += kRows) {
    accumulate_rows<kRows>(n, columns, a + size_t(r) * a_stride, a_stride, b, b_stride, out + size_t(r) * out_stride,
                           out_stride);
  }
  for (; r < rows; ++r) {
    accumulate_rows<1>(n, columns, a + size_t(r) * a_stride, a_stride, b, b_stride, out + size_t(r) * out_stride,
                       out_stride);
  }
}

float element(float value) { return value; }
float element(uint16_t bf16) { return bf16_to_f32(bf16); }

// to[d, key] = from[key, d] for keys [begin, end), multiples of 16.
template <typename T>
void transpose_keys(int begin, int end, int head_dim, const T* from /*[64, head_dim]*/, float* to /*[head_dim, 64]*/) {
  for (int key = begin; key < end; key += kLanes) {
    int d = 0;
    for (; d + kLanes <= head_dim; d += kLanes) {
      transpose16(from + size_t(key) * head_dim + d, head_dim, to + size_t(d) * kPageTokens + key, kPageTokens);
    }
    for (; d < head_dim; ++d) {
      for (int i = key; i < key + kLanes; ++i)
        to[size_t(d) * kPageTokens + i] = element(from[size_t(i) * head_dim + d]);
    }
  }
}

// One kv head's page in the layout of the sums, at least keys [begin, end): transposed keys in `work`, and the values.
struct Page {
  const float* keys;    // [head_dim, 64]
  const float* values;  // [64, head_dim]
};

Page load_page(const AttentionArgs& args, const AttentionTask& task, int page, int begin, int end,
               float* work /*keys, with bf16 values too*/) {
  const size_t plane = size_t(kPageTokens) * args.head_dim;  // keys or values of one head in one page
  const size_t k = (size_t(task.pages[page]) * 2 * args.kv_heads + task.kv_head) * plane, v = k + args.kv_heads * plane;
  const int from = begin / kLanes * kLanes, to = (end + kLanes - 1) / kLanes * kLanes;
  if (args.type == kKvF32) {
    const float* cache = static_cast<const float*>(task.cache);
    transpose_keys(from, to, args.head_dim, cache + k, work);
    return {work, cache + v};
  }
  const uint16_t* cache = static_cast<const uint16_t*>(task.cache);
  float* values = work + plane;
  transpose_keys(from, to, args.head_dim, cache + k, work);
  const size_t first = size_t(begin) * args.head_dim;
  widen(size_t(end - begin) * args.head_dim, cache + v + first, values + first);
  return {work, values};
}

constexpr float kNoScore = -__builtin_inff();

// The softmax in progress of one token and head is in its state row: Σ p·v [head_dim], then max, then Σ p.
SoftmaxPart get_part(const float* row, int head_dim) { return {row[head_dim], row[head_dim + 1]}; }
void set_part(float* row, int head_dim, SoftmaxPart part) {
  row[head_dim] = part.max;
  row[head_dim + 1] = part.sum;
}
float exp_of(float x) { return exp(x); }

void scale_row(int n, float factor, float* row) {
  int i = 0;
  for (; i + kLanes <= n; i += kLanes) store(row + i, load(row + i) * Vec(factor));
  for (; i < n; ++i) row[i] *= factor;
}

void attention_clear(const AttentionArgs& args, int tokens, float* state) {
  const int rows = tokens * (args.heads / args.kv_heads), stride = attention_state_stride(args);
  for (int i = 0; i < rows; ++i) {
    float* row = state + size_t(i) * stride;
    for (int d = 0; d < args.head_dim; ++d) row[d] = 0;
    set_part(row, args.head_dim, {kNoScore, 0});
  }
}

// Turns the raw scores of one token's heads with keys [begin, end) of a page into probabilities. They are relative to
// the new maximum, and the state is rescaled to it.
void softmax_page(const AttentionArgs& args, int begin, int end, float* scores /*[64]*/, float* row) {
  const int first = begin / kLanes * kLanes;
  Vec best(kNoScore);
  for (int key = first; key < end; key += kLanes) {
    const int from = begin > key ? begin - key : 0, to = end - key < kLanes ? end - key : kLanes;
    const Vec s = keep(load(scores + key) * Vec(args.scale), from, to, kNoScore);
    store(scores + key, s);
    best = max(best, s);
  }
  const SoftmaxPart before = get_part(row, args.head_dim);
  const float page_max = largest(best), new_max = before.max > page_max ? before.max : page_max;
  Vec total(0.0f);
  for (int key = first; key < end; key += kLanes) {
    const Vec p = exp(load(scores + key) - Vec(new_max));
    store(scores + key, p);
    total = total + p;
  }
  const float rescale = exp(before.max - new_max);
  if (rescale != 1.0f) scale_row(args.head_dim, rescale, row);
  set_part(row, args.head_dim, {new_max, before.sum * rescale + sum(total)});
}

void attention_chunk(const AttentionArgs& args, const AttentionTask& task, int chunk,
                     float* work /*scores [group, 64], then a page*/, float* state /*[tokens, group, stride]*/) {
  const int group = args.heads / args.kv_heads, head_dim = args.head_dim, stride = attention_state_stride(args);
  float* scores = work;
  float* page_work = work + size_t(group) * kPageTokens;
  attention_clear(args, task.tokens, state);

  const int oldest = attention_first_key(args, task.positions[0]) / kPageTokens;
  const int newest = task.positions[task.tokens - 1] / kPageTokens;
  const int first_page = oldest > chunk * kChunkPages ? oldest : chunk * kChunkPages;
  const int last_page = newest < (chunk + 1) * kChunkPages ? newest : (chunk + 1) * kChunkPages - 1;
  for (int page = first_page; page <= last_page; ++page) {
    const int base = page * kPageTokens;
    // Keys that any of the tokens sees: they begin with the window of the first and end with the position of the last.
    const int seen_begin = attention_first_key(args, task.positions[0]) - base;
    const int seen_end = task.positions[task.tokens - 1] + 1 - base;
    const auto [keys, values] = load_page(args, task, page, seen_begin > 0 ? seen_begin : 0,
                                          seen_end < kPageTokens ? seen_end : kPageTokens, page_work);

    for (int t = 0; t < task.tokens; ++t) {
      const int position = task.positions[t], first_key = attention_first_key(args, position) - base;
      const int begin = first_key > 0 ? first_key : 0;
      const int end = position + 1 - base < kPageTokens ? position + 1 - base : kPageTokens;
      if (begin >= end) continue;
      const int column = begin / kLanes * kLanes, columns = (end + kLanes - 1) / kLanes * kLanes - column;
      const float* q = task.q + (size_t(t) * args.heads + size_t(task.kv_head) * group) * head_dim;
      float* rows = state + size_t(t) * group * stride;
      for (int g = 0; g < group; ++g) {
        for (int c = column; c < column + columns; ++c) scores[g * kPageTokens + c] = 0;
      }
      accumulate(group, head_dim, columns, q, head_dim, keys + column, kPageTokens, scores + column, kPageTokens);
      for (int g = 0; g < group; ++g) {
        softmax_page(args, begin, end, scores + g * kPageTokens, rows + size_t(g) * stride);
      }
      accumulate(group, end - begin, head_dim, scores + begin, kPageTokens, values + size_t(begin) * head_dim, head_dim,
                 rows, stride);
    }
  }
}

void attention_merge(const AttentionArgs& args, int tokens, const float* chunk_state, float* state) {
  const int rows = tokens * (args.heads / args.kv_heads);
  const int head_dim = args.head_dim, stride = attention_state_stride(args);
  for (int i = 0; i < rows; ++i) {
    const float* from = chunk_state + size_t(i) * stride;
    float* to = state + size_t(i) * stride;
    const SoftmaxPart chunk = get_part(from, head_dim);
    if (chunk.max == kNoScore) continue;  // the window of this token is in other chunks
    const SoftmaxMerged merged = softmax_merge(get_part(to, head_dim), chunk, exp_of);
    for (int d = 0; d < head_dim; ++d) to[d] = to[d] * merged.scale_a + from[d] * merged.scale_b;
    set_part(to, head_dim, merged.part);
  }
}

void attention_finish(const AttentionArgs& args, const AttentionTask& task, const float* sinks /*[heads]*/,
                      float* state, float* out /*[tokens, heads, head_dim]*/) {
  const int group = args.heads / args.kv_heads, head_dim = args.head_dim;
  for (int t = 0; t < task.tokens; ++t) {
    for (int g = 0; g < group; ++g) {
      const int head = task.kv_head * group + g;
      const float* row = state + (size_t(t) * group + g) * attention_state_stride(args);
      const SoftmaxMerged merged = softmax_merge(get_part(row, head_dim), {sinks[head], 1.0f}, exp_of);
      const float factor = merged.scale_a / merged.part.sum;
      float* y = out + (size_t(t) * args.heads + head) * head_dim;
      for (int d = 0; d < head_dim; ++d) y[d] = row[d] * factor;
    }
  }
}
