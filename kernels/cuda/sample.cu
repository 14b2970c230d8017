// Sampling, defined in lib/generation/sampling.ts and executed for the CPU in kernels/cpu/sample.cpp:
//
// logits       [rows, vocab] f32; penalties, bias and forbidden tokens change a copy of the row, made only if needed
//   candidates   finite logits (+inf counts as the largest float), without the reserved ids when they are masked
//   temperature  0: the highest logit, the lowest id among equals;  else  w[i] = exp((logit[i] - max) / temperature)
//   filters      top-k, then top-p, then min-p
//   draw         the first kept id, ascending, at which the running sum of w exceeds u * (sum of the kept w)
//
// A row is cut into slices of 2,048 tokens, one block each. The block of a row that finishes last combines the slices
// in order, so the same row gives the same bits in any batch. Nothing waits for the host: lists of rows hold the work
// of later launches. A launch without such rows costs 1 to 2 us.
//
// read      all results of the raw logits, and the whole draw of rows without penalties, bias, filters
//   weigh     the same for rows whose logits were adjusted by the last block of `read`
// refine    six times, three for top-k and three for top-p: finds the limit of the kept tokens
// filtered  the weights of these tokens, and the draw
//
// top-k and top-p keep the tokens above a limit in the order (logit descending, id ascending). Radix select finds the
// limit: a histogram over 11 bits of the ordered logit gives the bucket in which the wanted count or mass is reached.
// 11 and 10 more bits within it follow. Mass is summed in fixed point of 62 bits: integers may be added in any order.
// The error is at most 2^-44 (of a sum of 1 at least), below the difference between two orders of summation in float64.
//
// Traffic: a row is read once without filters (0.8 MB), five times with one, all but the first time from L2. w costs an
// exp in float64 per token, with top-p a second one. Estimate from launches (2 us each), slices (2 to 4 us each, 500 at
// once) and last blocks (5 us) for an H200: 25 us for one row without filters, 50 with top-p, and 0.4 ms for 64 rows
// with top-p. No GPU has run this yet.
#include "kernels/common/penalty.h"
#include "kernels/common/philox.h"
#include "kernels/cuda/sample.cuh"

namespace oss::cuda {
namespace {

using namespace sampling;

// --- slices ----------------------------------------------------------------------------------------------------------

// Reads the raw logits: log softmax and the best tokens.
__device__ __forceinline__ void read_raw(const Problem& p, const SampleRow& row, const Tokens& t, size_t at) {
  float highest = -INFINITY;
  for (const float logit : t.logits) {
    if (is_finite_or_positive_inf(logit)) highest = fmaxf(highest, clamped(logit));
  }
  highest = block_max<kThreads>(highest);
  float sum = 0;
  for (const float logit : t.logits) {
    if (is_finite_or_positive_inf(logit)) sum += expf(clamped(logit) - highest);
  }
  const double total = block_sum<kThreads>(double(sum));
  if (threadIdx.x == 0) {
    p.s.raw_max[at] = highest;
    p.s.raw_sum[at] = total;
  }
  Key mine = row.top_logprobs > 0 ? best_from(t, row.args, 0) : kNoKey;
  for (int i = 0; i < row.top_logprobs; ++i) {
    const Key best = block_min<kThreads>(mine);
    if (threadIdx.x == 0) p.s.top[at * kMaxTopLogprobs + i] = best;
    if (mine == best && best != kNoKey) mine = best_from(t, row.args, best + 1);
  }
}

__device__ __forceinline__ bool has_filter(const SamplingArgs& args) {
  return args.top_k > 0 || args.top_p < 1 || args.min_p > 0;
}
// Finds the best candidate, and the weights of rows that can be drawn without more information.
__device__ __forceinline__ void weigh_slice(const Problem& p, const SamplingArgs& args, const Tokens& t, size_t at) {
  const Key best = block_min<kThreads>(best_from(t, args, 0));
  if (threadIdx.x == 0) p.s.best[at] = best;
  if (args.temperature == 0 || has_filter(args) || best == kNoKey) return;
  double sum = 0;
  for_each_candidate(t, args, [&](int, float logit) { sum += weight_of(logit, logit_of_key(best), args.temperature); });
  sum = block_sum<kThreads>(sum);
  if (threadIdx.x == 0) p.s.sum[at] = sum;
}

// --- rows, in their last blocks --------------------------------------------------------------------------------------

struct LogSoftmax {
  float max;
  double log_sum;
  __device__ float operator()(float logit) const {
    if (!is_finite_or_positive_inf(logit)) return -INFINITY;
    return float(double(clamped(logit)) - double(max) - log_sum);
  }
};

__device__ __forceinline__ LogSoftmax combine_raw(const Problem& p, int row) {
  float highest = -INFINITY;
  for (int slice = int(threadIdx.x); slice < p.slices; slice += kThreads) {
    highest = fmaxf(highest, __ldcg(&p.s.raw_max[p.at(row, slice)]));
  }
  highest = block_max<kThreads>(highest);
  double sum = 0;
  for (int slice = int(threadIdx.x); slice < p.slices; slice += kThreads) {
    const float of_slice = __ldcg(&p.s.raw_max[p.at(row, slice)]);
    if (of_slice > -INFINITY) sum += __ldcg(&p.s.raw_sum[p.at(row, slice)]) * exp(double(of_slice) - double(highest));
  }
  return {highest, log(block_sum<kThreads>(sum))};
}

__device__ __forceinline__ void write_top(const Problem& p, int row, const LogSoftmax& logprob) {
  const int wanted = p.rows[row].top_logprobs;
  SampleResult& out = p.out[row];
  // Returns the best key of this thread's lists that is not below `least`.
  const auto best_of_lists = [&](Key least) {
    Key best = kNoKey;
    for (int slice = int(threadIdx.x); slice < p.slices; slice += kThreads) {
      const Key* list = p.s.top + p.at(row, slice) * kMaxTopLogprobs;
      for (int i = 0; i < wanted; ++i) {
        const Key key = __ldcg(list + i);
        if (key < least) continue;
        if (key < best) best = key;
        break;
      }
    }
    return best;
  };
  Key mine = wanted > 0 ? best_of_lists(0) : kNoKey;
  int count = 0;
  while (count < wanted) {
    const Key best = block_min<kThreads>(mine);
    if (best == kNoKey) break;
    if (mine == best) mine = best_of_lists(best + 1);
    if (threadIdx.x == 0) {
      out.top_token[count] = id_of_key(best);
      out.top_logprob[count] = logprob(logit_of_key(best));
    }
    ++count;
  }
  if (threadIdx.x == 0) out.num_top = count;
}

// Applies penalties, then bias, to the row's copy.
__device__ __forceinline__ void adjust(const Problem& p, int row) {
  const SampleRow& r = p.rows[row];
  const float* raw = p.raw(row);
  float* logits = p.adjusted(row);
  if (has_penalty(r.args)) {
    for (int i = r.seen_begin + int(threadIdx.x); i < r.seen_end; i += kThreads) {
      const SampleSeen seen = p.seen[i];
      if (!is_allowed(r, seen.token)) continue;
      logits[seen.token] = penalize(raw[seen.token], r.args.repetition_penalty, r.args.presence_penalty,
                                    r.args.frequency_penalty, seen.in_completion);
    }
  }
  __syncthreads();
  // The first entry of a token adds the later ones too, in order. Lists are short: OpenAI's API takes 300.
  for (int i = r.bias_begin + int(threadIdx.x); i < r.bias_end; i += kThreads) {
    const int token = p.bias[i].token;
    bool is_first = true;
    for (int other = r.bias_begin; other < i && is_first; ++other) is_first = p.bias[other].token != token;
    if (!is_first) continue;
    float logit = __ldcg(logits + token);
    for (int other = i; other < r.bias_end; ++other) {
      if (p.bias[other].token == token) logit = __fadd_rn(logit, p.bias[other].bias);
    }
    logits[token] = logit;
  }
}

// Returns 53 random bits as a number in [0, 1).
__device__ __forceinline__ double uniform_of(const SamplingArgs& args) {
  const Philox4 random = philox4x32_10({args.position, args.choice, 0, 0}, args.seed_lo, args.seed_hi);
  return (double(random.x >> 5) * 0x1p26 + double(random.y >> 6)) * 0x1p-53;
}

// The kept candidates of a row.
struct Kept {
  float max;
  uint32_t limit;
  int ties;
};

struct SliceChoice {
  int slice, ties_before;
  double before, target;  // sums of kept weights
};

// Returns the slice that the draw hits, the same in every thread.
__device__ __forceinline__ SliceChoice choose_slice(const Problem& p, int row, const Kept& kept, bool is_filtered) {
  const SamplingArgs& args = p.rows[row].args;
  double tie_weight = kept.ties > 0 ? weight_of(logit_of(kept.limit), kept.max, args.temperature) : 0;
  if (!(tie_weight >= double(args.min_p))) tie_weight = 0;

  // Calls visit(slice, its sum, the sums before, ties before) for all slices, kThreads at a time. Products are rounded,
  // so that both passes get the same sums.
  const auto for_each_sum = [&](auto visit) {
    double sum_before = 0;
    int ties_before = 0;
    for (int first = 0; first < p.slices; first += kThreads) {
      const int slice = first + int(threadIdx.x);
      const bool there = slice < p.slices;
      const int ties = there && kept.ties > 0 ? __ldcg(&p.s.ties[p.at(row, slice)]) : 0;
      const Prefix<int> tie_prefix = kept.ties > 0 ? block_prefix<kThreads>(ties) : Prefix<int>{0, 0};
      const int before = ties_before + tie_prefix.before;
      const int kept_ties = max(0, min(ties, kept.ties - before));
      double sum = 0;
      if (there && is_filtered) {
        sum = __dadd_rn(__ldcg(&p.s.sum[p.at(row, slice)]), __dmul_rn(double(kept_ties), tie_weight));
      } else if (there) {
        const Key best = __ldcg(&p.s.best[p.at(row, slice)]);
        if (best != kNoKey) {
          const double factor = weight_of(logit_of_key(best), kept.max, args.temperature);
          sum = __dmul_rn(__ldcg(&p.s.sum[p.at(row, slice)]), factor);
        }
      }
      const Prefix<double> prefix = block_prefix<kThreads>(sum);
      visit(slice, sum, __dadd_rn(sum_before, prefix.before), before);
      sum_before = __dadd_rn(sum_before, prefix.total);
      ties_before += tie_prefix.total;
    }
  };

  double total = 0;  // the largest sum that a slice with weight reaches, so that one slice exceeds the target
  for_each_sum([&](int, double sum, double before, int) {
    if (sum > 0) total = fmax(total, __dadd_rn(before, sum));
  });
  const double target = uniform_of(args) * block_max<kThreads>(total);

  __shared__ SliceChoice chosen;
  int first = INT32_MAX;
  SliceChoice mine{};
  for_each_sum([&](int slice, double sum, double before, int ties_before) {
    if (slice >= first || !(sum > 0) || !(__dadd_rn(before, sum) > target)) return;
    first = slice;
    mine = {slice, ties_before, before, target};
  });
  const int slice = block_min<kThreads>(first);
  if (first == slice) chosen = mine;
  __syncthreads();
  return chosen;
}

// Returns the token that the draw hits, the same in every thread.
__device__ __forceinline__ int draw(const Problem& p, int row, const Kept& kept, bool is_filtered) {
  const SamplingArgs& args = p.rows[row].args;
  const SliceChoice choice = choose_slice(p, row, kept, is_filtered);
  const Tokens t = load_tokens(p, drawn_logits(p, row), choice.slice);
  int ties = 0;
  for_each_candidate(t, args, [&](int, float logit) { ties += rank_of(logit) == kept.limit ? 1 : 0; });
  int ties_before = choice.ties_before + (kept.ties > 0 ? block_prefix<kThreads>(ties).before : 0);

  double weights[kThreadTokens], sum = 0;
#pragma unroll
  for (int i = 0; i < kThreadTokens; ++i) {
    weights[i] = 0;
    if (!is_candidate(args, t.logits[i], t.first + i)) continue;
    const float logit = clamped(t.logits[i]);
    const uint32_t rank = rank_of(logit);
    if (rank > kept.limit || (rank == kept.limit && ties_before++ >= kept.ties)) continue;
    const double w = weight_of(logit, kept.max, args.temperature);
    if (w >= double(args.min_p)) weights[i] = w;
    sum += weights[i];
  }
  double running = choice.before + block_prefix<kThreads>(sum).before;
  int first = INT32_MAX, last = 0;
#pragma unroll
  for (int i = 0; i < kThreadTokens; ++i) {
    running += weights[i];
    if (!(weights[i] > 0)) continue;
    last = t.first + i;
    if (running > choice.target) first = min(first, last);
  }
  // Sums by threads and sums by slices round differently: in that case it is the slice's last token.
  first = block_min<kThreads>(first);
  last = block_max<kThreads>(last);
  return first != INT32_MAX ? first : last;
}

__device__ __forceinline__ void write_token(const Problem& p, int row, int token, const LogSoftmax& logprob) {
  if (threadIdx.x != 0) return;
  p.out[row].token = token;
  p.out[row].logprob = logprob(p.raw(row)[token]);
}

// Returns the token for a row without candidates: id 0, which is never reserved, or the lowest allowed id.
__device__ __forceinline__ int lowest_allowed(const Problem& p, int row) {
  int token = 0;
  while (token < p.vocab && !is_allowed(p.rows[row], token)) ++token;
  return token < p.vocab ? token : 0;
}

// Called when all candidates have weights: draws, or prepares the search for the limit of the filters.
__device__ __forceinline__ void decide(const Problem& p, int row, const LogSoftmax& logprob) {
  const SamplingArgs& args = p.rows[row].args;
  Key best = kNoKey;
  for (int slice = int(threadIdx.x); slice < p.slices; slice += kThreads) {
    const Key of_slice = __ldcg(&p.s.best[p.at(row, slice)]);
    if (of_slice < best) best = of_slice;
  }
  best = block_min<kThreads>(best);
  if (best == kNoKey) return write_token(p, row, lowest_allowed(p, row), logprob);
  if (args.temperature == 0) return write_token(p, row, id_of_key(best), logprob);
  if (!has_filter(args)) {
    const int token = draw(p, row, {logit_of_key(best), kNoLimit, 0}, false);
    return write_token(p, row, token, logprob);
  }
  Word* histogram = p.s.histogram + size_t(row) * kBuckets * 2;
  for (int i = int(threadIdx.x); i < kBuckets * 2; i += kThreads) histogram[i] = 0;
  if (threadIdx.x != 0) return;
  p.s.states[row] = {.raw_log_sum = logprob.log_sum,
                     .raw_max = logprob.max,
                     .max = logit_of_key(best),
                     .limit = kNoLimit,
                     .ties = 0,
                     .searching = 0,
                     .prefix = 0,
                     .above = 0,
                     .wanted = 0};
  const int limits = (args.top_k > 0 ? 1 : 0) + (args.top_p < 1 ? 1 : 0);
  if (limits > 0) append(p, kFirstLimit, row);
  if (limits > 1) append(p, kSecondLimit, row);
  append(p, kFiltered, row);
}

// --- kernels: read, weigh --------------------------------------------------------------------------------------------

__global__ void __launch_bounds__(kThreads, 3) read_kernel(Problem p, const int32_t* num_rows) {
  for_each_slice(p, *num_rows, nullptr, [&](int row, int slice) {
    const SampleRow& r = p.rows[row];
    const Tokens t = load_tokens(p, p.raw(row), slice);
    read_raw(p, r, t, p.at(row, slice));
    if (is_adjusted(r)) {
      float* copy = p.adjusted(row);
      for (int i = 0; i < kThreadTokens; ++i) {
        const int token = t.first + i;
        if (token < p.vocab) copy[token] = is_allowed(r, token) ? t.logits[i] : -INFINITY;
      }
    } else {
      weigh_slice(p, r.args, t, p.at(row, slice));
    }
    if (!last_of_row(p, row)) return;
    const LogSoftmax logprob = combine_raw(p, row);
    write_top(p, row, logprob);
    if (!is_adjusted(r)) return decide(p, row, logprob);
    adjust(p, row);
    if (threadIdx.x != 0) return;
    p.s.states[row].raw_max = logprob.max;
    p.s.states[row].raw_log_sum = logprob.log_sum;
    append(p, kAdjusted, row);
  });
}

__global__ void __launch_bounds__(kThreads) weigh_kernel(Problem p) {
  for_each_slice(p, kAdjusted, [&](int row, int slice) {
    weigh_slice(p, p.rows[row].args, load_tokens(p, p.adjusted(row), slice), p.at(row, slice));
    if (last_of_row(p, row)) decide(p, row, {p.s.states[row].raw_max, p.s.states[row].raw_log_sum});
  });
}

// --- kernel: refine --------------------------------------------------------------------------------------------------

// The bits of a rank that select its bucket.
template <int kPass>
struct Digit {
  static constexpr int kBits = kPass < 2 ? 11 : 10;
  static constexpr int kShift = kPass == 0 ? 21 : kPass == 1 ? 10 : 0;
  __device__ static bool is_within(uint32_t rank, uint32_t prefix) {
    return kPass == 0 || rank >> ((kShift + kBits) % 32) == prefix;
  }
  __device__ static int bucket(uint32_t rank) { return int(rank >> kShift & ((1u << kBits) - 1u)); }
};

struct Limbs {
  uint32_t high, middle, low;  // units of 2^-20, 2^-41 and 2^-62; the rest is cut off
  __device__ explicit Limbs(double w) {
    double rest = w * 0x1p20;
    high = uint32_t(rest);
    rest = (rest - high) * 0x1p21;
    middle = uint32_t(rest);
    low = uint32_t((rest - middle) * 0x1p21);
  }
  __device__ Amount amount() const { return Amount(Word(high) << 42 | Word(middle) << 21 | low); }
};
constexpr double kUnit = 0x1p-62;
constexpr int kLowBits = 21;
__device__ __forceinline__ Amount amount_of(Word high, Word low) { return (Amount(high) << kLowBits) + low; }

__device__ __forceinline__ Amount amount_of(float logit, float max, float temperature, bool by_mass) {
  return by_mass ? Limbs(weight_of(logit, max, temperature)).amount() : Amount(1);
}

// Finds the bucket in which the wanted amount is reached, in the last block of a row.
template <int kPass>
__device__ __forceinline__ void choose_bucket(const Problem& p, int row, bool by_mass) {
  using D = Digit<kPass>;
  constexpr int kOwn = (1 << D::kBits) / kThreads;
  const SamplingArgs& args = p.rows[row].args;
  RowState& state = p.s.states[row];
  const RowState before = state;

  ulonglong2* histogram = reinterpret_cast<ulonglong2*>(p.s.histogram) + size_t(row) * kBuckets + threadIdx.x * kOwn;
  // Tokens at the previous limit are not in the histogram: only some of them are kept.
  const int tied = D::bucket(before.limit) - int(threadIdx.x) * kOwn;
  const bool has_ties = before.ties > 0 && D::is_within(before.limit, before.prefix) && tied >= 0 && tied < kOwn;
  Word tied_high = 0, tied_low = 0;
  if (has_ties) {
    const Amount amount =
        Amount(Word(before.ties)) * amount_of(logit_of(before.limit), before.max, args.temperature, by_mass);
    tied_high = Word(amount >> kLowBits);
    tied_low = Word(amount) & ((Word(1) << kLowBits) - 1);
  }
  Word high = tied_high, low = tied_low;
  for (int i = 0; i < kOwn; ++i) {
    const ulonglong2 sums = __ldcg(histogram + i);
    high += sums.x;
    low += sums.y;
  }
  const Prefix<Word> high_prefix = block_prefix<kThreads>(high), low_prefix = block_prefix<kThreads>(low);

  Amount wanted = before.wanted;
  if (kPass == 0) {
    const Amount total = amount_of(high_prefix.total, low_prefix.total);
    wanted = Amount(Word(args.top_k));
    if (by_mass) wanted = Amount(ceil(double(args.top_p) * (double(total) * kUnit) * (1 / kUnit)));
    if (wanted == 0) wanted = 1;  // one token at least
    if (threadIdx.x == 0) {
      state.searching = wanted <= total ? 1 : 0;  // otherwise everything is kept: fewer candidates than k
      state.wanted = wanted;
    }
  }
  Amount sum = amount_of(high_prefix.before, low_prefix.before);
  if (kPass > 0) sum += before.above;
  for (int i = 0; i < kOwn; ++i) {
    const ulonglong2 sums = __ldcg(histogram + i);
    histogram[i] = make_ulonglong2(0, 0);  // for the next pass
    Amount next = sum + amount_of(sums.x, sums.y);
    if (has_ties && i == tied) next += amount_of(tied_high, tied_low);
    if (sum < wanted && wanted <= next) {  // true for one bucket of one thread
      const uint32_t prefix = (kPass > 0 ? before.prefix << D::kBits : 0u) | (threadIdx.x * kOwn + uint32_t(i));
      if (kPass < 2) {
        state.prefix = prefix;
        state.above = sum;
      } else {
        const Amount each = amount_of(logit_of(prefix), before.max, args.temperature, by_mass);
        const int most = prefix == before.limit ? before.ties : INT32_MAX;
        state.limit = prefix;
        state.ties = min(most, max(1, int(ceil(double(wanted - sum) / double(each)))));
      }
    }
    sum = next;
  }
}

template <int kPass>
__global__ void __launch_bounds__(kThreads) refine_kernel(Problem p, List list) {
  using D = Digit<kPass>;
  __shared__ uint32_t limbs[kLimbs][kBuckets];  // all 0 between slices
  if (p.s.list_size[list] == 0) return;
  for (int i = int(threadIdx.x); i < kLimbs * kBuckets; i += kThreads) limbs[i / kBuckets][i % kBuckets] = 0;
  __syncthreads();
  for_each_slice(p, list, [&](int row, int slice) {
    const SamplingArgs& args = p.rows[row].args;
    const RowState& state = p.s.states[row];
    if (kPass > 0 && state.searching == 0) return;
    const bool by_mass = list == kSecondLimit || args.top_k == 0;
    const uint32_t limit = state.limit, prefix = state.prefix;
    const float max = state.max;
    int any = 0;
    for_each_candidate(load_tokens(p, drawn_logits(p, row), slice), args, [&](int, float logit) {
      const uint32_t rank = rank_of(logit);
      if (rank >= limit || !D::is_within(rank, prefix)) return;
      const int bucket = D::bucket(rank);
      any = 1;
      if (!by_mass) {
        atomicAdd(&limbs[2][bucket], 1u);
        return;
      }
      const Limbs mass(weight_of(logit, max, args.temperature));
      if (mass.high != 0) atomicAdd(&limbs[0][bucket], mass.high);
      if (mass.middle != 0) atomicAdd(&limbs[1][bucket], mass.middle);
      if (mass.low != 0) atomicAdd(&limbs[2][bucket], mass.low);
    });
    if (__syncthreads_or(any) != 0) {
      Word* histogram = p.s.histogram + size_t(row) * kBuckets * 2;
      for (int bucket = int(threadIdx.x); bucket < 1 << D::kBits; bucket += kThreads) {
        const Word high = (Word(limbs[0][bucket]) << kLowBits) + limbs[1][bucket], low = limbs[2][bucket];
        if (high != 0) atomicAdd(&histogram[2 * bucket], high);
        if (low != 0) atomicAdd(&histogram[2 * bucket + 1], low);
        for (int limb = 0; limb < kLimbs; ++limb) limbs[limb][bucket] = 0;
      }
    }
    if (last_of_row(p, row)) choose_bucket<kPass>(p, row, by_mass);
  });
}

// --- kernel: filtered ------------------------------------------------------------------------------------------------

__global__ void __launch_bounds__(kThreads) filtered_kernel(Problem p) {
  for_each_slice(p, kFiltered, [&](int row, int slice) {
    const SamplingArgs& args = p.rows[row].args;
    const RowState& state = p.s.states[row];
    const Kept kept = {state.max, state.limit, state.ties};
    double sum = 0;
    int ties = 0;
    for_each_candidate(load_tokens(p, drawn_logits(p, row), slice), args, [&](int, float logit) {
      const uint32_t rank = rank_of(logit);
      ties += rank == kept.limit ? 1 : 0;
      if (rank >= kept.limit) return;
      const double w = weight_of(logit, kept.max, args.temperature);
      if (w >= double(args.min_p)) sum += w;
    });
    sum = block_sum<kThreads>(sum);
    ties = block_sum<kThreads>(ties);
    if (threadIdx.x == 0) {
      p.s.sum[p.at(row, slice)] = sum;
      p.s.ties[p.at(row, slice)] = ties;
    }
    if (!last_of_row(p, row)) return;
    write_token(p, row, draw(p, row, kept, true), {state.raw_max, state.raw_log_sum});
  });
}

}  // namespace

Status sample(const SampleArgs& args, const int32_t* num_rows, float* logits, const SampleRow* rows,
              const SampleSeen* seen, const SampleBias* bias, void* scratch, SampleResult* out, Stream stream) {
  if (args.rows == 0) return cudaSuccess;
  const int slices = divide_up(args.vocab, kSliceTokens);
  const Problem p = {args.rows, args.vocab, slices, logits, rows, seen, bias, out, scratch_of(args, scratch)};
  const unsigned blocks = unsigned(min(int64_t(args.rows) * slices, int64_t(kMostBlocks)));
  const Launch how = {.grid = blocks, .block = kThreads, .stream = stream};
  Status status = cudaMemsetAsync(scratch, 0, p.s.zeroed, static_cast<cudaStream_t>(stream));
  const auto then = [&](auto kernel, auto... arguments) {
    if (status == cudaSuccess) status = launch(kernel, how, p, arguments...);
  };
  then(read_kernel, num_rows);
  then(weigh_kernel);
  for (const List limit : {kFirstLimit, kSecondLimit}) {
    then(refine_kernel<0>, limit);
    then(refine_kernel<1>, limit);
    then(refine_kernel<2>, limit);
  }
  then(filtered_kernel);
  return status;
}

}  // namespace oss::cuda
