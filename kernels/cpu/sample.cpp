// Sampling, defined in lib/generation/sampling.ts:
//
//   candidates   finite logits (+inf counts as the largest float), without the reserved ids when they are masked
//   temperature  0: the highest logit, the lowest id among equals;  else  w[i] = exp((logit[i] − max) / temperature)
//   filters      top-k, then top-p, then min-p
//   draw         the first kept id, ascending, at which the running sum of w exceeds u · (sum of the kept w)
//
// A filter keeps the tokens up to a *limit* in the order (logit descending, id ascending). Once few tokens remain, the
// definition is executed literally, with the C library's exp and sums in the given order.
//
// For many tokens, a kernel sums the weights in blocks of 128 ids, with a relative error of 2^-34, and one block is
// walked literally. The draw (or topP · total) may lie closer to a border between two tokens than the errors of all
// sums. Only then is the definition executed literally after all. So the kernel's exp and its order of sums never
// change a result.
//
// V8's exp and the C library's may differ in the last bit. So a choice can differ from the TypeScript reference within
// about 1e-15 of a border. Rows of equal weights take the literal path in 1 of 12,000 draws, other rows less often.
//
// Cost at 201,088 logits with AVX-512: 9 us for the highest of each block and 135 us for the weights. At temperature 1
// the log probability and the draw share the weights. Filters read only blocks whose highest logit can pass. Top-p with
// many thousand tokens takes an exp for each, 1 to 3 ms.
#include "kernels/cpu/sample.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>
#include <numbers>

#include "kernels/common/philox.h"

namespace oss::cpu {
namespace {

constexpr float kLargest = std::numeric_limits<float>::max();
constexpr float kInf = std::numeric_limits<float>::infinity();

// Sorting a thousand keys takes less time than the pass over the row that it avoids.
constexpr size_t kFew = 1024;

double total_of(const std::vector<double>& sums) {
  double total = 0;
  for (const double sum : sums) total += sum;
  return total;
}

// A bucket is the leading bits of a key: sign, exponent and 7 bits of mantissa. Few tokens share a bucket, and the sums
// of all buckets, 512 KB, stay in L2.
constexpr int kBucketBits = 16, kBucketShift = 64 - kBucketBits;
constexpr size_t kBuckets = size_t(1) << kBucketBits;

bool finite_or_positive_inf(float logit) { return logit >= -kLargest; }  // false for NaN and -inf
float clamped(float logit) { return std::min(logit, kLargest); }

struct Range {
  int begin, end;
};

// The ids that may be drawn. The gaps are the reserved ids of o200k_harmony, which have no meaning.
constexpr Range kUnreserved[] = {{0, 200000}, {200002, 200004}, {200005, 200009}, {200012, 200013}};

}  // namespace

const LogitRow::Key LogitRow::kNoLimit = last_key_of(-kLargest);

LogitRow::Key LogitRow::key_of(float logit, uint32_t id) {
  const uint32_t bits = std::bit_cast<uint32_t>(logit + 0.0f);  // -0 + 0 = +0: equal logits get equal bits
  const uint32_t negative = uint32_t(int32_t(bits) >> 31);      // all ones or none: a branch would be unpredictable
  const uint32_t ascending = bits ^ (negative | 0x80000000u);
  return Key(~ascending) << 32 | id;
}

float LogitRow::logit_of(Key key) {
  const uint32_t ascending = ~uint32_t(key >> 32);
  return std::bit_cast<float>(ascending >> 31 != 0 ? ascending ^ 0x80000000u : ~ascending);
}

LogitRow::LogitRow(const SampleMachine& machine, const SamplingArgs& args, const float* logits, int vocab)
    : machine_(machine), args_(args), logits_(logits), vocab_(vocab) {
  block_highest_.resize(size_t(vocab + kSampleBlock - 1) / kSampleBlock);
  machine_.parallel_for(num_blocks(), [&](int begin, int end) {
    machine_.kernels.sample_highest(num_logits(begin, end), logits + block_begin(begin), block_highest_.data() + begin);
  });
  highest_ = *std::max_element(block_highest_.begin(), block_highest_.end());
  open_blocks_ = args.mask_reserved != 0 ? std::min(num_blocks(), kUnreserved[0].end / kSampleBlock) : num_blocks();
  for (int block = open_blocks_; block < num_blocks(); ++block) {
    float& highest = block_highest_[size_t(block)];
    highest = -kInf;
    for_each_candidate_of(block, [&](int id) { highest = std::max(highest, logit(id)); });
  }
  best_logit_ = *std::max_element(block_highest_.begin(), block_highest_.end());
}

float LogitRow::logit(int id) const { return clamped(logits_[id]); }

double LogitRow::weight(Key key) const {
  const double scaled = (double(logit_of(key)) - best_logit_) / args_.temperature;
  return scaled < -745.2 ? 0 : std::exp(scaled);  // below half of the smallest denormal: exp gives 0, slowly
}

// Calls visit(id) for the candidates of a block, ascending.
template <typename Visit>
void LogitRow::for_each_candidate_of(int block, const Visit& visit) const {
  const int begin = block_begin(block), end = begin + num_logits(block, block + 1);
  const auto visit_range = [&](int first, int last) {
    for (int id = first; id < last; ++id) {
      if (finite_or_positive_inf(logits_[id])) visit(id);
    }
  };
  if (block < open_blocks_) return visit_range(begin, end);
  for (const Range& range : kUnreserved) visit_range(std::max(range.begin, begin), std::min(range.end, end));
}

int LogitRow::best() const {
  const int block = int(std::find(block_highest_.begin(), block_highest_.end(), best_logit_) - block_highest_.begin());
  int found = -1;
  for_each_candidate_of(block, [&](int id) {
    if (found < 0 && logit(id) == best_logit_) found = id;
  });
  return found;
}

// Collects the candidates up to the limit, by id ascending. Returns false, with only some of them, when there are more
// than `most`.
bool LogitRow::gather(Key limit, size_t most, std::vector<Key>& keys) const {
  keys.clear();
  const float lowest = logit_of(limit);
  for (int block = 0; block < num_blocks() && keys.size() <= most; ++block) {
    if (block_highest_[size_t(block)] < lowest) continue;
    for_each_candidate_of(block, [&](int id) {
      if (logit(id) < lowest) return;
      const Key key = key_of(logit(id), uint32_t(id));
      if (key <= limit) keys.push_back(key);
    });
  }
  return keys.size() <= most;
}

// The n best candidates, with the worst of them last; all of them, in any order, when there are fewer.
std::vector<LogitRow::Key> LogitRow::best_keys(int n) const {
  // At least n candidates are as high as the n-th highest block maximum.
  float lowest = -kLargest;
  if (n <= num_blocks()) {
    std::vector<float> highest = block_highest_;
    std::nth_element(highest.begin(), highest.begin() + (n - 1), highest.end(), std::greater<>());
    lowest = std::max(lowest, highest[size_t(n - 1)]);
  }
  std::vector<Key> keys;
  gather(last_key_of(lowest), size_t(vocab_), keys);
  if (keys.size() >= size_t(n)) {
    std::nth_element(keys.begin(), keys.begin() + (n - 1), keys.end());
    keys.resize(size_t(n));
  }
  return keys;
}

std::vector<int32_t> LogitRow::top(int n) const {
  if (n == 0) return {};
  std::vector<Key> keys = best_keys(n);
  std::sort(keys.begin(), keys.end());
  return {keys.begin(), keys.end()};  // the lower half of a key is the id
}

float LogitRow::logprob(int token) {
  if (!finite_or_positive_inf(logits_[token])) return -kInf;
  if (log_total_ < 0) log_total_ = std::log(total_of(softmax_sums()));
  return float(double(logit(token)) - highest_ - log_total_);
}

// Sums of exp((logit - top) / temperature) over logits >= lowest, by block, including all ids. Weights below 2^-1000
// are left out.
void LogitRow::weigh(int begin_block, int end_block, double top, double temperature, double lowest,
                     double* sums) const {
  if (begin_block >= end_block) return;
  const double scale = std::numbers::log2e / temperature, least = std::max(lowest, top - 1000 / scale);
  machine_.parallel_for(end_block - begin_block, [&](int begin, int end) {
    const int first = begin_block + begin, n = num_logits(first, begin_block + end);
    machine_.kernels.sample_weights(n, logits_ + block_begin(first), top, scale, least, sums + first);
  });
}

const std::vector<double>& LogitRow::softmax_sums() {
  if (softmax_sums_.empty()) {
    softmax_sums_.resize(block_highest_.size());
    weigh(0, num_blocks(), highest_, 1, -kLargest, softmax_sums_.data());
  }
  return softmax_sums_;
}

// The sum of the weights of the candidates up to the limit, by block.
std::vector<double> LogitRow::block_weights(Key limit) {
  std::vector<double> sums(block_highest_.size());
  int literally = open_blocks_;  // the block with the limit, which keeps only some of the equal logits
  if (limit == kNoLimit && args_.temperature == 1 && best_logit_ == highest_) {
    std::copy_n(softmax_sums().begin(), open_blocks_, sums.begin());
  } else {
    literally = int(std::min(id_of(limit) / kSampleBlock, uint32_t(open_blocks_)));
    const float lowest = logit_of(limit), above = std::nextafter(lowest, kInf);
    weigh(0, literally, best_logit_, args_.temperature, lowest, sums.data());
    weigh(literally + 1, open_blocks_, best_logit_, args_.temperature, above, sums.data());
  }
  const auto weigh_literally = [&](int block) {
    for_each_candidate_of(block, [&](int id) {
      const Key key = key_of(logit(id), uint32_t(id));
      if (key <= limit) sums[size_t(block)] += weight(key);
    });
  };
  if (literally < open_blocks_) weigh_literally(literally);
  for (int block = open_blocks_; block < num_blocks(); ++block) weigh_literally(block);
  return sums;
}

// The largest error of the difference between a running sum and a fraction of the total, compared with the literal
// sums. Each of the two has an error of 2^-34 of the total from the kernel's exp, and 2^-53 for each addition of the
// literal sum. The factor two covers about a thousand other roundings.
double LogitRow::margin(double total) const { return 2 * (0x1p-34 + vocab_ * 0x1p-52) * total; }

LogitRow::Key LogitRow::top_k_limit() const {
  const std::vector<Key> keys = best_keys(std::min(args_.top_k, vocab_));
  return keys.size() < size_t(args_.top_k) ? kNoLimit : keys.back();
}

LogitRow::Key LogitRow::exact_top_p_limit(Key limit, const std::vector<Key>& keys) const {
  double total = 0;
  for (const Key key : keys) total += weight(key);
  std::vector<Key> sorted = keys;
  std::sort(sorted.begin(), sorted.end());
  double sum = 0;
  for (const Key key : sorted) {
    sum += weight(key);
    if (sum >= args_.top_p * total) return key;
  }
  return limit;
}

LogitRow::Key LogitRow::top_p_limit(Key limit) {
  std::vector<Key> keys;
  if (gather(limit, kFew, keys)) return exact_top_p_limit(limit, keys);

  const double total = total_of(block_weights(limit));
  const double wanted = args_.top_p * total, error = margin(total);
  // All tokens of smaller weight together have at most half of the weight that top-p leaves out.
  const double least_weight = (total - wanted) / (2.0 * vocab_);
  const auto least_logit = float(std::max(-double(kLargest), best_logit_ + args_.temperature * std::log(least_weight)));
  gather(std::min(limit, last_key_of(least_logit)), size_t(vocab_), keys);
  // The bucket of logits in which the sum reaches `wanted`, best first, and the sum before it.
  std::vector<double> mass(kBuckets);
  for (const Key key : keys) mass[key >> kBucketShift] += weight(key);
  size_t bucket = 0;
  double before = 0;
  for (; bucket < kBuckets - 1 && before + mass[bucket] < wanted; ++bucket) before += mass[bucket];
  std::erase_if(keys, [&](Key key) { return key >> kBucketShift != bucket; });
  std::sort(keys.begin(), keys.end());
  for (const Key key : keys) {
    const double sum = before + weight(key);
    if (sum + error >= wanted) {
      const bool certain = sum - error >= wanted && (before + error < wanted || before == 0);
      if (certain) return key;
      break;
    }
    before = sum;
  }

  gather(limit, size_t(vocab_), keys);
  return exact_top_p_limit(limit, keys);
}

// Weights grow with logits, so bisection finds the lowest logit whose weight reaches min_p.
LogitRow::Key LogitRow::min_p_limit() const {
  const auto is_kept = [&](uint32_t order) { return weight(Key(order) << 32) >= args_.min_p; };
  auto in = uint32_t(key_of(best_logit_, 0) >> 32), out = uint32_t(kNoLimit >> 32);
  if (is_kept(out)) return kNoLimit;
  while (out - in > 1) {
    const uint32_t middle = in + (out - in) / 2;
    (is_kept(middle) ? in : out) = middle;
  }
  return Key(in) << 32 | ~0u;
}

int LogitRow::exact_draw(const std::vector<Key>& keys) const {
  double total = 0;
  for (const Key key : keys) total += weight(key);
  // u <= 1 − 2⁻⁵³, so even the rounded product stays below the sum, and some token exceeds it.
  const double target = uniform() * total;
  double sum = 0;
  const auto drawn = std::find_if(keys.begin(), keys.end(), [&](Key key) {
    sum += weight(key);
    return sum > target;
  });
  return int(id_of(*drawn));
}

int LogitRow::draw_within(Key limit) {
  std::vector<Key> keys;
  if (gather(limit, kFew, keys)) return exact_draw(keys);

  const std::vector<double> sums = block_weights(limit);
  const double total = total_of(sums);
  const double target = uniform() * total, error = margin(total);
  double before = 0;
  int block = 0;
  for (; block < num_blocks() - 1 && before + sums[size_t(block)] <= target; ++block) before += sums[size_t(block)];
  int certain = -1;
  for_each_candidate_of(block, [&](int id) {
    const Key key = key_of(logit(id), uint32_t(id));
    if (key > limit) return;
    const double sum = before + weight(key);
    if (before + error < target && sum - error > target) certain = id;
    before = sum;
  });
  if (certain >= 0) return certain;

  gather(limit, size_t(vocab_), keys);
  return exact_draw(keys);
}

double LogitRow::uniform() const {
  const Philox4 random = philox4x32_10({args_.position, args_.choice, 0, 0}, args_.seed_lo, args_.seed_hi);
  return (double(random.x >> 5) * 0x1p26 + double(random.y >> 6)) * 0x1p-53;  // 53 bits in [0, 1)
}

int LogitRow::draw() {
  if (best_logit_ == -kInf) return 0;  // without candidates: id 0 is the lowest id that is never masked
  if (args_.temperature == 0) return best();
  Key limit = kNoLimit;
  if (args_.top_k > 0) limit = top_k_limit();
  if (args_.top_p < 1) limit = top_p_limit(limit);
  if (args_.min_p > 0) limit = std::min(limit, min_p_limit());
  return draw_within(limit);
}

}  // namespace oss::cpu
