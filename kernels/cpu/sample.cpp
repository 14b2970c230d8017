// Sampling, defined in lib/sampling.ts:
//
//   candidates   finite logits (+inf counts as the largest float), without the reserved ids when they are masked
//   temperature  0: the highest logit, the lowest id among equals;  else  w[i] = exp((logit[i] − max) / temperature)
//   filters      top-k, then top-p, then min-p
//   draw         the first kept id, ascending, at which the running sum of w exceeds u · (sum of the kept w)
//
// Everything is a pass over the row; nothing of its size is stored or sorted. The tokens that top-k and top-p keep are
// those above a *limit* in the order (logit descending, id ascending). A histogram over the leading bits of the logits
// (of counts for top-k, of probability mass for top-p) finds the bucket of the limit, and only that bucket is sorted.
//
// Weights are float64. V8's exp and the C library's may differ in the last bit, and the mass above the border bucket is
// added bucket by bucket rather than token by token, so a sum can differ from the reference by about 1e-15 of itself.
// That changes a choice only when the draw or topP · total falls that close to a border between two tokens.
//
// Cost at 201,088 logits: an exp per token for w (1 ms) and an expf for the logprob (½ ms); filters add passes, no exp,
// and the most probable tokens one pass of comparisons.
#include "kernels/cpu/sample.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "kernels/common/philox.h"

namespace oss::cpu {
namespace {

constexpr float kLargest = std::numeric_limits<float>::max();

bool finite_or_positive_inf(float logit) { return logit >= -kLargest; }  // false for NaN and -inf
float clamped(float logit) { return std::min(logit, kLargest); }

struct Range {
  int begin, end;
};

// The ids that may be drawn: between them lie the reserved ids of o200k_harmony, which have no meaning.
constexpr Range kUnreserved[] = {{0, 200000}, {200002, 200004}, {200005, 200009}, {200012, 200013}};

// Calls visit(begin, end) for the parts of [begin, end) that may be drawn from, ascending.
template <typename Visit>
void for_each_range(const SamplingArgs& args, int begin, int end, const Visit& visit) {
  if (args.mask_reserved == 0) return visit(begin, end);
  for (const Range& range : kUnreserved) visit(std::max(range.begin, begin), std::min(range.end, end));
}

// The highest of logits [begin, end), NaN skipped; -inf when there is none. Sixteen lanes, which become vectors: one
// running maximum would wait for itself at every step.
float highest(const float* logits, int begin, int end) {
  constexpr int kLanes = 16;
  float lanes[kLanes];
  std::fill_n(lanes, kLanes, -std::numeric_limits<float>::infinity());
  int id = begin;
  for (; id + kLanes <= end; id += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) lanes[lane] = std::max(lanes[lane], logits[id + lane]);
  }
  for (; id < end; ++id) lanes[0] = std::max(lanes[0], logits[id]);
  return std::min(*std::max_element(lanes, lanes + kLanes), kLargest);
}

// Orders tokens by logit descending, then by id ascending: a smaller key is a better token.
using Key = uint64_t;

// A bucket is the leading bits of a key: sign, exponent and 4 bits of mantissa. 64 KB of sums stay in L2.
constexpr int kBucketBits = 13;
constexpr int kBucketShift = 64 - kBucketBits;
constexpr int kBuckets = 1 << kBucketBits;

Key key_of(float logit, int id) {
  const uint32_t bits = std::bit_cast<uint32_t>(logit + 0.0f);  // -0 + 0 = +0: equal logits get equal bits
  const uint32_t negative = uint32_t(int32_t(bits) >> 31);      // all ones or none: a branch would be a coin toss
  const uint32_t ascending = bits ^ (negative | 0x80000000u);
  return Key(~ascending) << 32 | uint32_t(id);
}

class Row {
 public:
  Row(const SamplingArgs& args, const float* logits, int vocab) : args_(args), logits_(logits), vocab_(vocab) {
    best_ = argmax();
    if (best_ >= 0) max_ = logit(best_);
  }

  int sample() {
    if (best_ < 0) return 0;  // no candidate at all: id 0 is the lowest id that is never masked
    if (args_.temperature == 0) return best_;
    if (args_.top_k > 0) keep_top_k();
    if (args_.top_p < 1) keep_top_p();
    return draw();
  }

 private:
  float logit(int id) const { return clamped(logits_[id]); }

  double weight(int id) const {
    const double scaled = (double(logit(id)) - max_) / args_.temperature;
    return scaled < -745.2 ? 0 : std::exp(scaled);  // below half of the smallest denormal: exp gives 0, slowly
  }

  bool kept(int id) const { return key_of(logit(id), id) <= limit_; }

  // Calls visit(id) for the candidates of [begin, end), ascending.
  template <typename Visit>
  void for_each_candidate(int begin, int end, const Visit& visit) const {
    for_each_range(args_, begin, end, [&](int first, int last) {
      for (int id = first; id < last; ++id) {
        if (finite_or_positive_inf(logits_[id])) visit(id);
      }
    });
  }

  template <typename Visit>
  void for_each_candidate(const Visit& visit) const {
    for_each_candidate(0, vocab_, visit);
  }

  int argmax() const {
    float best = -std::numeric_limits<float>::infinity();
    for_each_range(args_, 0, vocab_, [&](int begin, int end) { best = std::max(best, highest(logits_, begin, end)); });
    int at = -1;
    for_each_range(args_, 0, vocab_, [&](int begin, int end) {
      for (int id = begin; id < end && at < 0; ++id) {
        if (finite_or_positive_inf(logits_[id]) && logit(id) == best) at = id;
      }
    });
    return at;
  }

  // The kept tokens of one bucket, best first.
  std::vector<Key> sorted_bucket(Key bucket) const {
    std::vector<Key> keys;
    for_each_candidate([&](int id) {
      const Key key = key_of(logit(id), id);
      if (key >> kBucketShift == bucket && key <= limit_) keys.push_back(key);
    });
    std::sort(keys.begin(), keys.end());
    return keys;
  }

  void keep_top_k() {
    std::vector<int> count(kBuckets);
    for_each_candidate([&](int id) { ++count[key_of(logit(id), id) >> kBucketShift]; });
    int wanted = args_.top_k;
    for (int bucket = 0; bucket < kBuckets; ++bucket) {
      if (wanted <= count[bucket]) {
        limit_ = sorted_bucket(bucket)[wanted - 1];
        return;
      }
      wanted -= count[bucket];
    }
  }

  void keep_top_p() {
    std::vector<double> mass(kBuckets);
    double total = 0;
    for_each_candidate([&](int id) {
      if (!kept(id)) return;
      const double w = weight(id);
      total += w;
      mass[key_of(logit(id), id) >> kBucketShift] += w;
    });
    const double wanted = args_.top_p * total;
    double sum = 0;
    for (int bucket = 0; bucket < kBuckets; ++bucket) {
      if (mass[bucket] == 0) continue;
      if (sum + mass[bucket] < wanted) {
        sum += mass[bucket];
        continue;
      }
      for (const Key key : sorted_bucket(bucket)) {
        sum += weight(int(uint32_t(key)));
        limit_ = key;
        if (sum >= wanted) return;
      }
    }
  }

  // The sum of the kept weights is noted at the start of each block of ids; the draw then walks one block again.
  int draw() const {
    constexpr int kBlock = 1024;
    const bool limited = limit_ != ~Key(0);
    const auto for_each_kept = [&](int begin, const auto& visit) {
      for_each_candidate(begin, std::min(begin + kBlock, vocab_), [&](int id) {
        if (limited && !kept(id)) return;
        const double w = weight(id);
        if (w >= args_.min_p) visit(id, w);  // the best token has weight 1
      });
    };
    std::vector<double> before;
    double sum = 0;
    for (int begin = 0; begin < vocab_; begin += kBlock) {
      before.push_back(sum);
      for_each_kept(begin, [&](int, double w) { sum += w; });
    }
    // u <= 1 − 2⁻⁵³, so the product stays below the sum even when it is rounded: some token passes it.
    const double target = uniform() * sum;
    const auto block = std::prev(std::upper_bound(before.begin(), before.end(), target));
    int chosen = -1;
    sum = *block;
    for_each_kept(int(block - before.begin()) * kBlock, [&](int id, double w) {
      sum += w;
      if (chosen < 0 && sum > target) chosen = id;
    });
    return chosen;
  }

  double uniform() const {
    const Philox4 random = philox4x32_10({args_.position, args_.choice, 0, 0}, args_.seed_lo, args_.seed_hi);
    return (double(random.x >> 5) * 0x1p26 + double(random.y >> 6)) * 0x1p-53;  // 53 bits in [0, 1)
  }

  const SamplingArgs& args_;
  const float* logits_;
  int vocab_;
  int best_ = -1;
  double max_ = 0;
  Key limit_ = ~Key(0);  // tokens with a larger key are out
};

}  // namespace

int draw_token(const SamplingArgs& args, const float* logits, int vocab) { return Row(args, logits, vocab).sample(); }

int top_tokens(const SamplingArgs& args, const float* logits, int vocab, int n, int32_t* top) {
  constexpr int kBlock = 256;  // most blocks hold nothing better than the n best so far, and vectors tell
  int count = 0;
  float bar = -std::numeric_limits<float>::infinity();  // what a token must exceed: an equal one has the higher id
  const auto insert = [&](int id) {
    int at = count < n ? count++ : n - 1;
    for (; at > 0 && clamped(logits[id]) > clamped(logits[top[at - 1]]); --at) top[at] = top[at - 1];
    top[at] = id;
    if (count == n) bar = clamped(logits[top[n - 1]]);
  };
  if (n == 0) return 0;
  for_each_range(args, 0, vocab, [&](int begin, int end) {
    for (int block = begin; block < end; block += kBlock) {
      const int block_end = std::min(block + kBlock, end);
      if (!(highest(logits, block, block_end) > bar)) continue;
      for (int id = block; id < block_end; ++id) {
        if (clamped(logits[id]) > bar) insert(id);  // false for NaN
      }
    }
  });
  return count;
}

LogSoftmax::LogSoftmax(const float* logits, int vocab) : logits_(logits), highest_(highest(logits, 0, vocab)) {
  // A float64 sum of float32 terms: 1e-7 relative, as fine as the float that is returned.
  double sum = 0;
  for (int id = 0; id < vocab; ++id) {
    if (finite_or_positive_inf(logits[id])) sum += std::exp(clamped(logits[id]) - highest_);
  }
  log_sum_ = std::log(sum);
}

float LogSoftmax::operator()(int token) const {
  if (!finite_or_positive_inf(logits_[token])) return -std::numeric_limits<float>::infinity();
  return float(double(clamped(logits_[token])) - highest_ - log_sum_);
}

}  // namespace oss::cpu
