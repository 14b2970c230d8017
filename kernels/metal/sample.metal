// Sampling, defined in lib/generation/sampling.ts and executed for the CPU in kernels/cpu/sample.cpp:
//
// logits       [.., vocab] f32; penalties, bias and forbidden tokens change a copy of the row, made only if needed
//   candidates   finite logits (+inf counts as the largest float), without the reserved ids when they are masked
//   temperature  0: the highest logit, the lowest id among equals;  else  w[i] = exp((logit[i] - max) / temperature)
//   filters      top-k, then top-p, then min-p
//   draw         the first kept id, ascending, at which the running sum of w exceeds u * (sum of the kept w)
//
// Weights are integers (sample.h): no sum depends on its order, and no float32 rounding moves a border of two tokens.
//
// A row is cut into slices of 2,048 tokens. Three dispatches:
//
// sample_read    a threadgroup per slice: the adjusted copy, the slice's best candidate, its best raw logits
// sample_weigh   a threadgroup per slice: sums of weights. With top-k or top-p it also sorts the slice's candidates,
//                best first, and stores the running sums of their weights
// sample_choose  a threadgroup per row, a thread per slice: log softmax, the best raw logits, the draw
//
// top-k and top-p keep the tokens up to a limit in the order (logit descending, id ascending). Bisection finds it: a
// thread looks up in its sorted slice how many keys, or how much weight, come up to the middle. The sorted sums then
// give each slice's kept weight. So only the slice that the draw hits is read again.
//
// Traffic: a row is read twice (1.6 MB, the second time from the cache). top-k and top-p add 3.2 MB of sorted keys and
// sums. An adjusted row adds its copy. A weight costs about 100 integer instructions; sorting costs 23 barriers. No GPU
// has run this yet.
#include "kernels/common/penalty.h"
#include "kernels/common/philox.h"
#include "kernels/metal/lang.h"
#include "kernels/metal/sample.h"
#include "kernels/metal/step.h"

using namespace oss;

// Loops over a thread's tokens are unrolled: an array with a computed index would be in memory, not in registers.

// --- simdgroups and threadgroups: the specification promises no simd operations on 64 bits -------------------------

// Sums and prefix sums of numbers whose sum is at most 2^63: in parts of 21 bits, 32 lanes never overflow 32 bits.
static inline ulong sample_simd_sum(ulong v) {
  const ulong high = simd_sum(uint(v >> 42)), middle = simd_sum(uint(v >> 21) & 0x1FFFFFu);
  return (high << 42) + (middle << 21) + simd_sum(uint(v) & 0x1FFFFFu);
}
static inline ulong sample_simd_before(ulong v) {
  const ulong high = simd_prefix_exclusive_sum(uint(v >> 42));
  const ulong middle = simd_prefix_exclusive_sum(uint(v >> 21) & 0x1FFFFFu);
  return (high << 42) + (middle << 21) + simd_prefix_exclusive_sum(uint(v) & 0x1FFFFFu);
}
static inline ulong sample_simd_min(ulong v) {
  const uint high = simd_min(uint(v >> 32));
  const uint low = simd_min(uint(v >> 32) == high ? uint(v) : ~0u);
  return ulong(high) << 32 | low;
}

// Each of these starts with a barrier: `parts` may still be in use.
static inline ulong sample_min(ulong v, ThreadgroupPtr<ulong> parts, uint lane, uint simdgroup) {
  v = sample_simd_min(v);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (lane == 0) parts[simdgroup] = v;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  v = parts[0];
  for (int i = 1; i < kSampleSimdgroups; ++i) v = parts[i] < v ? parts[i] : v;
  return v;
}

struct SamplePrefix {
  ulong before, total;
};
static inline SamplePrefix sample_prefix(ulong v, ThreadgroupPtr<ulong> parts, uint lane, uint simdgroup) {
  SamplePrefix prefix;
  prefix.before = sample_simd_before(v);
  prefix.total = 0;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (lane == 31) parts[simdgroup] = prefix.before + v;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  for (int i = 0; i < kSampleSimdgroups; ++i) {
    if (i == int(simdgroup)) prefix.before += prefix.total;
    prefix.total += parts[i];
  }
  return prefix;
}
static inline ulong sample_sum(ulong v, ThreadgroupPtr<ulong> parts, uint lane, uint simdgroup) {
  v = sample_simd_sum(v);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (lane == 0) parts[simdgroup] = v;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  v = parts[0];
  for (int i = 1; i < kSampleSimdgroups; ++i) v += parts[i];
  return v;
}

struct SamplePair {
  ulong amount, count;
};
static inline SamplePair sample_sums(ulong amount, uint count, ThreadgroupPtr<ulong> parts, uint lane, uint simdgroup) {
  amount = sample_simd_sum(amount);
  count = simd_sum(count);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (lane == 0) {
    parts[simdgroup] = amount;
    parts[simdgroup + kSampleSimdgroups] = count;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  SamplePair sums;
  sums.amount = 0;
  sums.count = 0;
  for (int i = 0; i < kSampleSimdgroups; ++i) {
    sums.amount += parts[i];
    sums.count += parts[i + kSampleSimdgroups];
  }
  return sums;
}

// --- rows ------------------------------------------------------------------------------------------------------------

static inline bool sample_has_penalty(SamplingArgs args) {
  return args.repetition_penalty != 1.0f || args.presence_penalty != 0.0f || args.frequency_penalty != 0.0f;
}
static inline bool sample_is_adjusted(SampleRow row) {
  return (sample_has_penalty(row.args) && row.seen_begin < row.seen_end) || row.bias_begin < row.bias_end ||
         row.allowed_begin >= 0;
}
// By its bits: the comparison of floats may take a denormal number for 0.
static inline bool sample_is_greedy(SamplingArgs args) { return (as_type<uint>(args.temperature) & 0x7FFFFFFFu) == 0; }
// Whether a limit in the order of tokens is searched for.
static inline bool sample_is_limited(SamplingArgs args) { return args.top_k > 0 || args.top_p < 1.0f; }
static inline ulong sample_most_halvings(SamplingArgs args) {
  return (as_type<uint>(args.min_p) & 0x7FFFFFFFu) != 0 ? sample_halvings_to(args.min_p) : ~ulong(0);
}

// The bits of a thread's logits; NaN past the end of the row.
struct SampleTokens {
  int first;
  uint bits[kSampleThreadTokens];
};

static inline SampleTokens sample_load(DevicePtr<const float> row, int vocab, int slice, uint index) {
  SampleTokens t;
  t.first = slice * kSampleSlice + int(index) * kSampleThreadTokens;
  if (vocab % 4 == 0 && t.first + kSampleThreadTokens <= vocab) {
#pragma unroll
    for (int i = 0; i < kSampleThreadTokens; i += 4) {
      const uint4 four = *as_const<uint4>(row + t.first + i);
      t.bits[i] = four.x;
      t.bits[i + 1] = four.y;
      t.bits[i + 2] = four.z;
      t.bits[i + 3] = four.w;
    }
  } else {
#pragma unroll
    for (int i = 0; i < kSampleThreadTokens; ++i) {
      t.bits[i] = t.first + i < vocab ? as_type<uint>(row[t.first + i]) : 0x7FC00000u;
    }
  }
  return t;
}

// The key of token i of a thread; kNoSampleKey if it is no candidate.
static inline ulong sample_candidate(SampleTokens t, int i, int mask_reserved) {
  const int id = t.first + i;
  if (!sample_is_usable(t.bits[i]) || (mask_reserved != 0 && sample_is_reserved(id))) return kNoSampleKey;
  return sample_key(t.bits[i], id);
}
// The best key of a thread that is not below `least`.
static inline ulong sample_best_from(SampleTokens t, int mask_reserved, ulong least) {
  ulong best = kNoSampleKey;
#pragma unroll
  for (int i = 0; i < kSampleThreadTokens; ++i) {
    const ulong key = sample_candidate(t, i, mask_reserved);
    if (key >= least && key < best) best = key;
  }
  return best;
}

static inline uint sample_rank_of(ulong key) { return uint(key >> 32); }

// --- sample_read -----------------------------------------------------------------------------------------------------

// Group (slice, row).
kernel void sample_read(constant SampleLaunch& args [[buffer(0)]], DevicePtr<const SampleRow> rows [[buffer(1)]],
                        DevicePtr<const SampleSeen> seen [[buffer(2)]], DevicePtr<const SampleBias> bias [[buffer(3)]],
                        DevicePtr<const uint> allowed [[buffer(4)]], DevicePtr<const float> logits [[buffer(5)]],
                        DevicePtr<SampleBest> best [[buffer(6)]], DevicePtr<ulong> top [[buffer(7)]],
                        DevicePtr<float> adjusted [[buffer(8)]], OSS_POSITION) {
  OSS_THREADGROUP(float, copy, kSampleSlice);
  OSS_THREADGROUP(ulong, parts, kSampleSimdgroups);
  const int slice = int(group.x);
  const SampleRow row = rows[group.y];
  const ulong at = ulong(group.y) * ulong(args.slices) + ulong(slice);
  SampleTokens t = sample_load(logits + ulong(row.row) * ulong(args.vocab), args.vocab, slice, index);

  const ulong raw = sample_min(sample_best_from(t, 0, 0), parts, lane, simdgroup);
  ulong mine = row.top_logprobs > 0 ? sample_best_from(t, row.args.mask_reserved, 0) : kNoSampleKey;
  for (int i = 0; i < row.top_logprobs; ++i) {
    const ulong next = sample_min(mine, parts, lane, simdgroup);
    if (index == 0) top[at * kMaxTopLogprobs + i] = next;
    if (mine == next && next != kNoSampleKey) mine = sample_best_from(t, row.args.mask_reserved, next + 1);
  }

  if (sample_is_adjusted(row)) {
    const int begin = slice * kSampleSlice, own = int(index) * kSampleThreadTokens;
#pragma unroll
    for (int i = 0; i < kSampleThreadTokens; ++i) {
      const int token = t.first + i;
      bool may = true;
      if (row.allowed_begin >= 0 && token < args.vocab)
        may = (allowed[row.allowed_begin + token / 32] >> (token % 32) & 1u) != 0;
      copy[own + i] = as_type<float>(may ? t.bits[i] : 0xFF800000u);
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    // Tokens are distinct. The steps of penalize() must not be contracted: the build turns contraction off.
    if (sample_has_penalty(row.args)) {
      for (int i = row.seen_begin + int(index); i < row.seen_end; i += kSampleThreads) {
        const SampleSeen one = seen[i];
        const int place = one.token - begin;
        if (place < 0 || place >= kSampleSlice) continue;
        copy[place] = penalize(copy[place], row.args.repetition_penalty, row.args.presence_penalty,
                               row.args.frequency_penalty, one.in_completion);
      }
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    // The first entry of a token adds the later ones too, in order. Lists are short: OpenAI's API takes 300.
    for (int i = row.bias_begin + int(index); i < row.bias_end; i += kSampleThreads) {
      const int token = bias[i].token, place = token - begin;
      if (place < 0 || place >= kSampleSlice) continue;
      bool is_first = true;
      for (int other = row.bias_begin; other < i && is_first; ++other) is_first = bias[other].token != token;
      if (!is_first) continue;
      float logit = copy[place];
      for (int other = i; other < row.bias_end; ++other) {
        if (bias[other].token == token) logit = logit + bias[other].bias;
      }
      copy[place] = logit;
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    const ulong to = ulong(group.y) * ulong(args.vocab) + ulong(t.first);
#pragma unroll
    for (int i = 0; i < kSampleThreadTokens; ++i) {
      const float logit = copy[own + i];
      t.bits[i] = as_type<uint>(logit);
      if (t.first + i < args.vocab) adjusted[to + i] = logit;
    }
  }
  const ulong drawn = sample_min(sample_best_from(t, row.args.mask_reserved, 0), parts, lane, simdgroup);
  if (index == 0) {
    best[at].drawn = drawn;
    best[at].raw = raw;
  }
}
OSS_KERNEL(sample_read)

// --- sample_weigh ----------------------------------------------------------------------------------------------------

// A thread's keys.
struct SampleKeys {
  ulong at[8];
};

// One stage of a bitonic sort of the slice, between keys of a thread. Key j has the place first + (j << bit).
template <int kStride>
static inline SampleKeys sample_exchanged(SampleKeys keys, int first, int bit, int level) {
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    if ((j & kStride) != 0) continue;
    const ulong a = keys.at[j], b = keys.at[j + kStride];
    const bool ascending = ((first + (j << bit)) >> level & 1) == 0;
    if ((a > b) == ascending) {
      keys.at[j] = b;
      keys.at[j + kStride] = a;
    }
  }
  return keys;
}

// Stages with strides 2^high to 2^low, three at most: eight keys at a distance of 2^bit are a thread's own.
static inline SampleKeys sample_stages(ThreadgroupPtr<ulong> sorted, uint index, int high, int low, int level) {
  const int bit = low < 8 ? low : 8;
  const int first = (int(index) >> bit << (bit + 3)) | (int(index) & ((1 << bit) - 1));
  SampleKeys keys;
#pragma unroll
  for (int j = 0; j < 8; ++j) keys.at[j] = sorted[first + (j << bit)];
  if (high - bit >= 2) keys = sample_exchanged<4>(keys, first, bit, level);
  if (high - bit >= 1 && low - bit <= 1) keys = sample_exchanged<2>(keys, first, bit, level);
  if (low == bit) keys = sample_exchanged<1>(keys, first, bit, level);
#pragma unroll
  for (int j = 0; j < 8; ++j) sorted[first + (j << bit)] = keys.at[j];
  return keys;
}

// Group (slice, row).
kernel void sample_weigh(constant SampleLaunch& args [[buffer(0)]], DevicePtr<const SampleRow> rows [[buffer(1)]],
                         DevicePtr<const float> logits [[buffer(2)]], DevicePtr<const float> adjusted [[buffer(3)]],
                         DevicePtr<const SampleBest> best [[buffer(4)]], DevicePtr<SampleSums> sums [[buffer(5)]],
                         DevicePtr<ulong> keys [[buffer(6)]], DevicePtr<ulong> weights [[buffer(7)]], OSS_POSITION) {
  OSS_THREADGROUP(ulong, sorted, kSampleSlice);
  OSS_THREADGROUP(ulong, parts, kSampleSimdgroups);
  const int slice = int(group.x);
  const SampleRow row = rows[group.y];
  const ulong first_slice = ulong(group.y) * ulong(args.slices), at = first_slice + ulong(slice);
  ulong drawn = kNoSampleKey, raw = kNoSampleKey;
  if (int(index) < args.slices) {
    drawn = best[first_slice + index].drawn;
    raw = best[first_slice + index].raw;
  }
  drawn = sample_min(drawn, parts, lane, simdgroup);
  raw = sample_min(raw, parts, lane, simdgroup);
  const uint best_rank = sample_rank_of(drawn), raw_rank = sample_rank_of(raw);

  const SampleTokens t = sample_load(logits + ulong(row.row) * ulong(args.vocab), args.vocab, slice, index);
  const SampleScale neutral = sample_scale(1.0f);
  ulong raw_weights[kSampleThreadTokens], raw_sum = 0;
#pragma unroll
  for (int i = 0; i < kSampleThreadTokens; ++i) {
    raw_weights[i] = 0;
    if (sample_is_usable(t.bits[i]))
      raw_weights[i] = sample_weight(sample_halvings(raw_rank, sample_rank(t.bits[i]), neutral));
    raw_sum += raw_weights[i];
  }
  raw_sum = sample_sum(raw_sum, parts, lane, simdgroup);
  if (index == 0) sums[at].raw = raw_sum;
  if (sample_is_greedy(row.args) || drawn == kNoSampleKey) return;

  const bool is_adjusted = sample_is_adjusted(row);
  SampleTokens own = t;
  if (is_adjusted) own = sample_load(adjusted + ulong(group.y) * ulong(args.vocab), args.vocab, slice, index);
  const SampleScale scale = sample_scale(row.args.temperature);
  if (!sample_is_limited(row.args)) {
    // The raw weights are often those of the draw.
    const bool is_same =
        !is_adjusted && row.args.temperature == 1.0f && row.args.min_p == 0.0f && best_rank == raw_rank;
    const ulong most = sample_most_halvings(row.args);
    ulong sum = 0;
#pragma unroll
    for (int i = 0; i < kSampleThreadTokens; ++i) {
      const ulong key = sample_candidate(own, i, row.args.mask_reserved);
      if (key == kNoSampleKey) continue;
      if (is_same) {
        sum += raw_weights[i];
      } else {
        const ulong halvings = sample_halvings(best_rank, sample_rank_of(key), scale);
        if (halvings <= most) sum += sample_weight(halvings);
      }
    }
    sum = sample_sum(sum, parts, lane, simdgroup);
    if (index == 0) sums[at].drawn = sum;
    return;
  }

  SampleKeys mine;
  const int first = int(index) * kSampleThreadTokens;
#pragma unroll
  for (int i = 0; i < kSampleThreadTokens; ++i) mine.at[i] = sample_candidate(own, i, row.args.mask_reserved);
  mine = sample_exchanged<1>(mine, first, 0, 1);
  mine = sample_exchanged<2>(mine, first, 0, 2);
  mine = sample_exchanged<1>(mine, first, 0, 2);
  mine = sample_exchanged<4>(mine, first, 0, 3);
  mine = sample_exchanged<2>(mine, first, 0, 3);
  mine = sample_exchanged<1>(mine, first, 0, 3);
#pragma unroll
  for (int i = 0; i < kSampleThreadTokens; ++i) sorted[first + i] = mine.at[i];
  for (int level = 4; level <= 11; ++level) {
    for (int high = level - 1; high >= 0;) {
      const int low = high / 3 * 3;
      threadgroup_barrier(mem_flags::mem_threadgroup);
      mine = sample_stages(sorted, index, high, low, level);
      high = low - 1;
    }
  }
  // The last stages have left each thread with consecutive keys.
  ulong running[kSampleThreadTokens], sum = 0;
#pragma unroll
  for (int i = 0; i < kSampleThreadTokens; ++i) {
    if (mine.at[i] != kNoSampleKey) sum += sample_weight(sample_halvings(best_rank, sample_rank_of(mine.at[i]), scale));
    running[i] = sum;
  }
  const ulong before = sample_prefix(sum, parts, lane, simdgroup).before;
#pragma unroll
  for (int i = 0; i < kSampleThreadTokens; ++i) {
    keys[at * kSampleSlice + first + i] = mine.at[i];
    weights[at * kSampleSlice + first + i] = before + running[i];
  }
}
OSS_KERNEL(sample_weigh)

// --- sample_choose ---------------------------------------------------------------------------------------------------

// The log softmax of the raw logits. Both terms have one sign: float32 gives a relative error of 2^-22.
struct SampleSoftmax {
  float highest, ln_sum;
};
static inline float sample_logprob(SampleSoftmax softmax, uint bits) {
  if (!sample_is_usable(bits)) return as_type<float>(0xFF800000u);
  return -((softmax.highest - as_type<float>(sample_bits(sample_rank(bits)))) + softmax.ln_sum);
}

// The number of keys, in [from, to], of a sorted slice up to `limit`.
static inline int sample_count(DevicePtr<const ulong> keys, int from, int to, ulong limit) {
  while (from < to) {
    const int middle = (from + to) / 2;
    if (keys[middle] <= limit) {
      from = middle + 1;
    } else {
      to = middle;
    }
  }
  return from;
}
static inline ulong sample_amount(DevicePtr<const ulong> weights, int count, bool by_weight) {
  if (!by_weight) return ulong(count);
  return count > 0 ? weights[count - 1] : ulong(0);
}

// A key up to which the tokens have at least the wanted amount, and those before the last of them have less. The tokens
// up to `limit`, of which this thread's slice has `count`, have at least that. `least` is below every key.
static inline ulong sample_search(DevicePtr<const ulong> keys, DevicePtr<const ulong> weights, int count,
                                  bool by_weight, ulong wanted, ulong least, ulong limit, ThreadgroupPtr<ulong> parts,
                                  uint lane, uint simdgroup) {
  int low = 0, high = count;                                      // of the keys in question, which are above `least`
  ulong left = sample_sum(ulong(count), parts, lane, simdgroup);  // of all slices together
  while (left > 1 && limit - least > 1) {
    const ulong middle = least + (limit - least) / 2;
    const int here = sample_count(keys, low, high, middle);
    const SamplePair sums =
        sample_sums(sample_amount(weights, here, by_weight), uint(here - low), parts, lane, simdgroup);
    if (sums.amount >= wanted) {
      limit = middle;
      high = here;
      left = sums.count;
    } else {
      least = middle;
      low = here;
      left -= sums.count;
    }
  }
  return limit;
}

// Group (row).
kernel void sample_choose(constant SampleLaunch& args [[buffer(0)]], DevicePtr<const SampleRow> rows [[buffer(1)]],
                          DevicePtr<const uint> allowed [[buffer(2)]], DevicePtr<const float> logits [[buffer(3)]],
                          DevicePtr<const float> adjusted [[buffer(4)]], DevicePtr<const SampleBest> best [[buffer(5)]],
                          DevicePtr<const ulong> top [[buffer(6)]], DevicePtr<const SampleSums> sums [[buffer(7)]],
                          DevicePtr<const ulong> keys [[buffer(8)]], DevicePtr<const ulong> weights [[buffer(9)]],
                          DevicePtr<SampleResult> out [[buffer(10)]], OSS_POSITION) {
  OSS_THREADGROUP(ulong, parts, 2 * kSampleSimdgroups);
  OSS_THREADGROUP(ulong, chosen, 2);  // slice, sum of the slices before it
  const SampleRow row = rows[group.x];
  const DevicePtr<const float> raw_logits = logits + ulong(row.row) * ulong(args.vocab);
  const ulong at = ulong(group.x) * ulong(args.slices) + index;  // of this thread's slice
  const bool has_slice = int(index) < args.slices;

  const ulong raw = sample_min(has_slice ? best[at].raw : kNoSampleKey, parts, lane, simdgroup);
  const ulong raw_sum = sample_sum(has_slice ? sums[at].raw : ulong(0), parts, lane, simdgroup);
  SampleSoftmax softmax;
  softmax.highest = as_type<float>(sample_bits(sample_rank_of(raw)));
  softmax.ln_sum = raw != kNoSampleKey ? sample_ln(raw_sum) : 0.0f;

  int listed = 0, count = 0;  // of the slice's list; of all
  ulong mine = has_slice && row.top_logprobs > 0 ? top[at * kMaxTopLogprobs] : kNoSampleKey;
  while (count < row.top_logprobs) {
    const ulong next = sample_min(mine, parts, lane, simdgroup);
    if (next == kNoSampleKey) break;
    if (mine == next) {
      ++listed;
      mine = listed < row.top_logprobs ? top[at * kMaxTopLogprobs + listed] : kNoSampleKey;
    }
    if (index == 0) {
      out[group.x].top_token[count] = int(uint(next));
      out[group.x].top_logprob[count] = sample_logprob(softmax, sample_bits(sample_rank_of(next)));
    }
    ++count;
  }
  if (index == 0) out[group.x].num_top = count;

  const ulong drawn = sample_min(has_slice ? best[at].drawn : kNoSampleKey, parts, lane, simdgroup);
  if (drawn == kNoSampleKey || sample_is_greedy(row.args)) {
    if (index != 0) return;
    int token = int(uint(drawn));
    if (drawn == kNoSampleKey) {  // id 0, which is never reserved, or the lowest allowed id
      token = 0;
      if (row.allowed_begin >= 0) {
        while (token < args.vocab && (allowed[row.allowed_begin + token / 32] >> (token % 32) & 1u) == 0) ++token;
        if (token == args.vocab) token = 0;
      }
    }
    out[group.x].token = token;
    out[group.x].logprob = sample_logprob(softmax, as_type<uint>(raw_logits[token]));
    return;
  }

  const uint best_rank = sample_rank_of(drawn);
  const SampleScale scale = sample_scale(row.args.temperature);
  const ulong most = sample_most_halvings(row.args);
  ulong limit = kNoSampleKey - 1, sum = 0;
  if (sample_is_limited(row.args)) {
    const DevicePtr<const ulong> own_keys = keys + (has_slice ? at : ulong(0)) * kSampleSlice;
    const DevicePtr<const ulong> own_weights = weights + (has_slice ? at : ulong(0)) * kSampleSlice;
    int kept = has_slice ? sample_count(own_keys, 0, kSampleSlice, limit) : 0;
    const ulong least = drawn - 1;
    if (row.args.top_k > 0) {
      const ulong wanted = ulong(row.args.top_k);
      if (sample_sum(ulong(kept), parts, lane, simdgroup) > wanted) {
        limit = sample_search(own_keys, own_weights, kept, false, wanted, least, limit, parts, lane, simdgroup);
        kept = sample_count(own_keys, 0, kept, limit);
      }
    }
    if (row.args.top_p < 1.0f) {
      const ulong total = sample_sum(sample_amount(own_weights, kept, true), parts, lane, simdgroup);
      const ulong wanted = sample_fraction(total, row.args.top_p);
      limit = sample_search(own_keys, own_weights, kept, true, wanted, least, limit, parts, lane, simdgroup);
      kept = sample_count(own_keys, 0, kept, limit);
    }
    if (most != ~ulong(0)) {
      int from = 0;
      while (from < kept) {
        const int middle = (from + kept) / 2;
        if (sample_halvings(best_rank, sample_rank_of(own_keys[middle]), scale) <= most) {
          from = middle + 1;
        } else {
          kept = middle;
        }
      }
    }
    sum = sample_amount(own_weights, kept, true);
  } else if (has_slice) {
    sum = sums[at].drawn;
  }

  // 53 random bits as a fraction. The best token has weight, and the target is below the total: one slice is hit.
  Philox4 counter;
  counter.x = row.args.position;
  counter.y = row.args.choice;
  counter.z = 0;
  counter.w = 0;
  const Philox4 random = philox4x32_10(counter, row.args.seed_lo, row.args.seed_hi);
  const ulong bits = ulong(random.x >> 5) << 26 | ulong(random.y >> 6);
  const SamplePrefix slices = sample_prefix(sum, parts, lane, simdgroup);
  const ulong target = sample_high(ulong(bits << 11), slices.total);
  if (slices.before <= target && target < slices.before + sum) {
    chosen[0] = index;
    chosen[1] = slices.before;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  const DevicePtr<const float> own =
      sample_is_adjusted(row) ? adjusted + ulong(group.x) * ulong(args.vocab) : raw_logits;
  const SampleTokens t = sample_load(own, args.vocab, int(chosen[0]), index);
  ulong token_weights[kSampleThreadTokens];
  sum = 0;
#pragma unroll
  for (int i = 0; i < kSampleThreadTokens; ++i) {
    token_weights[i] = 0;
    const ulong key = sample_candidate(t, i, row.args.mask_reserved);
    if (key > limit) continue;
    const ulong halvings = sample_halvings(best_rank, sample_rank_of(key), scale);
    if (halvings <= most) token_weights[i] = sample_weight(halvings);
    sum += token_weights[i];
  }
  ulong running = chosen[1] + sample_prefix(sum, parts, lane, simdgroup).before;
#pragma unroll
  for (int i = 0; i < kSampleThreadTokens; ++i) {
    if (running <= target && target < running + token_weights[i]) {
      out[group.x].token = t.first + i;
      out[group.x].logprob = sample_logprob(softmax, as_type<uint>(raw_logits[t.first + i]));
    }
    running += token_weights[i];
  }
}
OSS_KERNEL(sample_choose)
