// Sampling of one row. test/lib/generation/sampling.test.ts compares it with the TypeScript reference on thousands of
// rows. This file tests the kernels, large rows against the definition, and properties that need no reference.
#include "native/backend/cpu/sample_row.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numbers>
#include <random>
#include <vector>

#include "kernels/common/philox.h"
#include "test/kernels/support.h"
#include "test/native/check.h"

namespace oss {
namespace {

using test::fail;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr SamplingArgs kNeutral = {
    .temperature = 1,
    .top_k = 0,
    .top_p = 1,
    .min_p = 0,
    .seed_lo = 7,
    .seed_hi = 0,
    .position = 0,
    .choice = 0,
    .repetition_penalty = 1,
    .presence_penalty = 0,
    .frequency_penalty = 0,
    .mask_reserved = 1,
};

using Seen = std::vector<SamplingContext::Seen>;
using Biases = std::vector<SamplingContext::Bias>;

Sampled sample(const SamplingArgs& args, std::vector<float> logits, const SamplingContext& context = {}) {
  return sample_row(args, context, logits.data(), int(logits.size()));
}

int draw(const SamplingArgs& args, const std::vector<float>& logits) { return sample(args, logits).token; }

// The number of draws of each id at positions 0..draws-1.
std::vector<int> counts(SamplingArgs args, const std::vector<float>& logits, int draws) {
  std::vector<int> count(logits.size());
  for (int position = 0; position < draws; ++position) {
    args.position = unsigned(position);
    ++count[draw(args, logits)];
  }
  return count;
}

TEST("sample: philox gives the known answers of Random123") {
  const Philox4 zeros = philox4x32_10({0, 0, 0, 0}, 0, 0);
  CHECK_EQ(zeros.x, 0x6627e8d5u);
  CHECK_EQ(zeros.y, 0xe169c58du);
  CHECK_EQ(zeros.z, 0xbc57ac4cu);
  CHECK_EQ(zeros.w, 0x9b00dbd8u);
  const Philox4 ones = philox4x32_10({~0u, ~0u, ~0u, ~0u}, ~0u, ~0u);
  CHECK_EQ(ones.x, 0x408f276du);
  CHECK_EQ(ones.y, 0x41c83b0eu);
  CHECK_EQ(ones.z, 0xa20bc7c6u);
  CHECK_EQ(ones.w, 0x6d5451fdu);
}

TEST("sample: temperature 0 takes the highest logit, the lowest id among equals") {
  SamplingArgs args = kNeutral;
  args.temperature = 0;
  CHECK_EQ(draw(args, {1, 3, 3, 2}), 1);
  CHECK_EQ(draw(args, {-5}), 0);
  CHECK_EQ(draw(args, {-0.0f, 0.0f}), 0);
  CHECK_EQ(draw(args, {kNan, -kInf, -7, kNan}), 2);
  CHECK_EQ(draw(args, {1, kInf, std::numeric_limits<float>::max()}), 1);
}

TEST("sample: a row without any finite logit gives token 0 with logprob -inf") {
  const Sampled sampled = sample(kNeutral, {kNan, -kInf, kNan}, {.seen = {}, .bias = {}, .top_logprobs = 3});
  CHECK(sampled.top.empty());
  CHECK_EQ(sampled.token, 0);
  CHECK_EQ(sampled.logprob, -kInf);
}

TEST("sample: draws follow the softmax of logits over temperature") {
  const std::vector<float> logits = {std::log(1.0f), std::log(2.0f), std::log(5.0f), -kInf, kNan};
  const int draws = 20000;
  const std::vector<int> at_1 = counts(kNeutral, logits, draws);
  const double sigmas = 5 * std::sqrt(0.25 * draws);
  CHECK(std::fabs(at_1[0] - draws * 0.125) < sigmas);
  CHECK(std::fabs(at_1[1] - draws * 0.250) < sigmas);
  CHECK(std::fabs(at_1[2] - draws * 0.625) < sigmas);
  CHECK_EQ(at_1[3] + at_1[4], 0);
  SamplingArgs hot = kNeutral;
  hot.temperature = 0.5f;  // squares the weights: 1, 4, 25
  const std::vector<int> at_half = counts(hot, logits, draws);
  CHECK(std::fabs(at_half[1] - draws * 4.0 / 30) < sigmas);
  CHECK(std::fabs(at_half[2] - draws * 25.0 / 30) < sigmas);
}

TEST("sample: each filter keeps exactly its tokens") {
  const std::vector<float> logits = {std::log(0.1f), std::log(0.4f), std::log(0.1f), std::log(0.3f), std::log(0.1f)};
  const auto drawn = [&](const SamplingArgs& args) {
    std::string ids;
    const std::vector<int> count = counts(args, logits, 2000);
    for (size_t id = 0; id < count.size(); ++id) ids += count[id] > 0 ? char('0' + id) : '-';
    return ids;
  };
  SamplingArgs args = kNeutral;
  CHECK_EQ(drawn(args), "01234");
  args.top_k = 1;
  CHECK_EQ(drawn(args), "-1---");
  args.top_k = 3;  // of three equal tokens the lowest id
  CHECK_EQ(drawn(args), "01-3-");
  args.top_k = 99;
  CHECK_EQ(drawn(args), "01234");
  args = kNeutral;
  args.top_p = 0.65f;
  CHECK_EQ(drawn(args), "-1-3-");
  args.top_p = 0.75f;
  CHECK_EQ(drawn(args), "01-3-");
  args.top_p = 1e-30f;
  CHECK_EQ(drawn(args), "-1---");
  args = kNeutral;
  args.min_p = 0.5f;
  CHECK_EQ(drawn(args), "-1-3-");
  args.min_p = 1;
  CHECK_EQ(drawn(args), "-1---");
  args = kNeutral;
  args.top_k = 2;  // total is 0.7 then
  args.top_p = 0.5f;
  CHECK_EQ(drawn(args), "-1---");
}

TEST("sample: reserved ids are drawn only without the mask, and the mask does not touch the logprob") {
  std::vector<float> logits(201088, -30.0f);
  for (const int reserved : {200000, 200001, 200004, 200009, 200010, 200011, 200013, 201087}) logits[reserved] = 20;
  for (const int allowed : {199999, 200002, 200003, 200005, 200006, 200007, 200008, 200012}) logits[allowed] = 10;
  SamplingArgs args = kNeutral;
  const std::vector<int> masked = counts(args, logits, 200);
  int allowed = 0;
  for (const int id : {199999, 200002, 200003, 200005, 200006, 200007, 200008, 200012}) allowed += masked[id];
  CHECK_EQ(allowed, 200);
  args.temperature = 0;
  const Sampled best = sample(args, logits);
  CHECK_EQ(best.token, 199999);
  CHECK(std::fabs(best.logprob - (-10 - std::log(8.0 + 8 * std::exp(-10.0)))) < 1e-5);
  args.mask_reserved = 0;
  CHECK_EQ(draw(args, logits), 200000);
}

TEST("sample: the same seed and position give the same token, other positions others") {
  const std::vector<float> flat(1000, 0.0f);
  SamplingArgs args = kNeutral;
  const int first = draw(args, flat);
  CHECK_EQ(draw(args, flat), first);
  int different = 0;
  for (args.position = 1; args.position < 50; ++args.position) different += draw(args, flat) != first;
  CHECK(different > 40);
  args = kNeutral;
  args.seed_hi = 1;  // all 64 bits of the seed count
  CHECK(draw(args, flat) != first);
  args = kNeutral;
  args.choice = 1;  // different for each completion of one prompt
  CHECK(draw(args, flat) != first);
}

constexpr float kMax = std::numeric_limits<float>::max();

std::vector<float> block_highest(const cpu::Kernels& kernels, const std::vector<float>& x) {
  std::vector<float> highest((x.size() + cpu::kSampleBlock - 1) / cpu::kSampleBlock, kNan);
  kernels.sample_highest(int(x.size()), x.data(), highest.data());
  return highest;
}

TEST("sample: the highest logit of each block, whatever is around it") {
  for (const cpu::Kernels* kernels : cpu::available_kernels()) {
    for (const size_t n : {1, 2, 15, 16, 17, 31, 127, 128, 129, 143, 256, 300}) {
      for (size_t at = 0; at < n; ++at) {
        std::vector<float> x(n, at % 2 == 0 ? kNan : -kInf);
        if (at > 0) x[at - 1] = kNan;
        x[at] = -3;
        std::vector<float> expected((n + 127) / 128, -kInf);
        expected[at / 128] = -3;
        CHECK_BITS(str(kernels->isa, " ", n), block_highest(*kernels, x), expected);
      }
    }
    CHECK_EQ(block_highest(*kernels, {1, kInf, 2})[0], kMax);
    CHECK_EQ(block_highest(*kernels, {-kMax, -kInf})[0], -kMax);
    CHECK_EQ(block_highest(*kernels, {0.0f, -0.0f, -1})[0], 0.0f);
    const std::vector<float> x = test::random_floats(201088, 1, 30), highest = block_highest(*kernels, x);
    for (size_t block = 0; block < highest.size(); ++block) {
      CHECK_EQ(highest[block], *std::max_element(x.begin() + block * 128, x.begin() + block * 128 + 128));
    }
  }
}

std::vector<double> block_weights(const cpu::Kernels& kernels, const std::vector<float>& x, double top, double scale,
                                  double lowest) {
  std::vector<double> sums((x.size() + cpu::kSampleBlock - 1) / cpu::kSampleBlock, kNan);
  kernels.sample_weights(int(x.size()), x.data(), top, scale, lowest, sums.data());
  return sums;
}

// One logit per block, so that the sum of a block is one weight.
TEST("sample: a weight to 2^-34 over its whole range, and 1 for the highest") {
  const double top = 7.25;
  std::vector<float> x(128 * 4001, -kInf);
  for (size_t i = 0; i <= 4000; ++i) x[i * 128 + i % 128] = float(top - double(i) / 4000 * 690);
  for (const cpu::Kernels* kernels : cpu::available_kernels()) {
    for (const double temperature : {1.0, 0.7, 3.0, 100.0}) {
      const double scale = std::numbers::log2e / temperature;
      const std::vector<double> weights = block_weights(*kernels, x, top, scale, -1e4);
      double worst = 0;
      for (size_t i = 0; i <= 4000; ++i) {
        const double expected = std::exp((x[i * 128 + i % 128] - top) / temperature);
        if (expected > 0x1p-1000) worst = std::max(worst, std::fabs(weights[i] / expected - 1));
      }
      CHECK(worst < 0x1p-34);
      CHECK_EQ(weights[0], 1.0);
    }
  }
}

TEST("sample: weights of finite logits from the lowest on, the same bits on every instruction set") {
  std::mt19937 random(1);
  for (const size_t n : {1, 2, 15, 16, 17, 31, 127, 128, 129, 143, 256, 300, 5000}) {
    std::vector<float> x = test::random_floats(n, uint32_t(n), 20);
    for (size_t i = 0; i < n / 5; ++i) x[1 + random() % (n - 1)] = i % 2 == 0 ? kNan : -kInf;
    for (const double lowest : {-double(kMax), -3.0, double(x[0]), 21.0}) {
      std::vector<double> expected((n + 127) / 128);
      for (size_t i = 0; i < n; ++i) expected[i / 128] += x[i] >= lowest ? std::exp((x[i] - 20.0) / 1.5) : 0;
      std::vector<double> first;
      for (const cpu::Kernels* kernels : cpu::available_kernels()) {
        const std::vector<double> sums = block_weights(*kernels, x, 20, std::numbers::log2e / 1.5, lowest);
        for (size_t i = 0; i < sums.size(); ++i) CHECK(std::fabs(sums[i] - expected[i]) <= 0x1p-34 * expected[i]);
        if (first.empty()) first = sums;
        CHECK(sums == first);
      }
    }
  }
  for (const cpu::Kernels* kernels : cpu::available_kernels()) {
    CHECK_EQ(block_weights(*kernels, {kInf, kMax, kNan, -kInf}, kMax, 1, -double(kMax) / 1e30)[0], 2.0);
    CHECK_EQ(block_weights(*kernels, std::vector<float>(128, -kInf), 0, 1, -1000)[0], 0.0);
  }
}

bool is_reserved(int id) {
  return id >= 200000 && id != 200002 && id != 200003 && !(id >= 200005 && id <= 200008) && id != 200012;
}

double uniform(const SamplingArgs& args) {
  const Philox4 random = philox4x32_10({args.position, args.choice, 0, 0}, args.seed_lo, args.seed_hi);
  return (double(random.x >> 5) * 0x1p26 + double(random.y >> 6)) * 0x1p-53;
}

// The definition in lib/generation/sampling.ts, executed literally, without penalties and bias.
Sampled by_definition(const SamplingArgs& args, const std::vector<float>& logits, int top_logprobs) {
  const auto clamped = [&](int id) { return std::min(logits[size_t(id)], kMax); };
  std::vector<int> finite, kept;
  for (int id = 0; id < int(logits.size()); ++id) {
    if (!(logits[size_t(id)] >= -kMax)) continue;
    finite.push_back(id);
    if (args.mask_reserved == 0 || !is_reserved(id)) kept.push_back(id);
  }
  if (kept.empty()) return {.token = 0, .logprob = -kInf, .top = {}};
  float highest = -kInf;
  for (const int id : finite) highest = std::max(highest, clamped(id));
  double softmax_total = 0;
  for (const int id : finite) softmax_total += std::exp(double(clamped(id)) - highest);
  const auto logprob = [&](int id) { return float(double(clamped(id)) - highest - std::log(softmax_total)); };

  std::stable_sort(kept.begin(), kept.end(), [&](int a, int b) { return clamped(a) > clamped(b); });
  Sampled out;
  for (size_t i = 0; i < std::min(size_t(top_logprobs), kept.size()); ++i)
    out.top.push_back({kept[i], logprob(kept[i])});
  const double best = clamped(kept[0]);
  const auto weight = [&](int id) { return std::exp((clamped(id) - best) / args.temperature); };
  const auto total = [&] {
    std::vector<int> ascending = kept;
    std::sort(ascending.begin(), ascending.end());
    double sum = 0;
    for (const int id : ascending) sum += weight(id);
    return sum;
  };
  if (args.temperature == 0) kept.resize(1);
  if (args.top_k > 0) kept.resize(std::min(kept.size(), size_t(args.top_k)));
  if (args.top_p < 1) {
    const double wanted = args.top_p * total();
    double sum = 0;
    const auto last = std::find_if(kept.begin(), kept.end(), [&](int id) { return (sum += weight(id)) >= wanted; });
    if (last != kept.end()) kept.erase(last + 1, kept.end());
  }
  std::erase_if(kept, [&](int id) { return args.temperature > 0 && weight(id) < args.min_p; });
  std::sort(kept.begin(), kept.end());
  const double target = args.temperature > 0 ? uniform(args) * total() : -1;
  double sum = 0;
  out.token = *std::find_if(kept.begin(), kept.end(),
                            [&](int id) { return args.temperature == 0 || (sum += weight(id)) > target; });
  out.logprob = logprob(out.token);
  return out;
}

void check_by_definition(const std::string& what, const SamplingArgs& args, std::vector<float> logits, int top = 0) {
  const Sampled expected = by_definition(args, logits, top);
  for (const cpu::Kernels* kernels : cpu::available_kernels()) {
    const SamplingContext context = {.seen = {}, .bias = {}, .top_logprobs = top};
    const Sampled got = sample_row(args, context, logits.data(), int(logits.size()), {*kernels});
    const std::string where =
        str(kernels->isa, ", ", what, " of ", logits.size(), ", temperature ", args.temperature, ", top_k ", args.top_k,
            ", top_p ", args.top_p, ", min_p ", args.min_p, ", position ", args.position, ", top ", top);
    if (got.token != expected.token) fail(__FILE__, __LINE__, str(where, ": ", got.token, ", not ", expected.token));
    // An error of 2^-34 in the sum, and the rounding to float; the sum here is off by 2^-53 per addition.
    const auto near = [&](float a, float b) { return a == b || std::fabs(a - b) <= 1.2e-10 + 1.2e-7 * std::fabs(b); };
    if (!near(got.logprob, expected.logprob)) {
      fail(__FILE__, __LINE__, str(where, ": logprob ", got.logprob, ", not ", expected.logprob));
    }
    CHECK_EQ(got.top.size(), expected.top.size());
    for (size_t i = 0; i < got.top.size(); ++i) {
      if (got.top[i].token != expected.top[i].token || !near(got.top[i].logprob, expected.top[i].logprob)) {
        fail(__FILE__, __LINE__, str(where, ": top ", i, " is ", got.top[i].token, ", not ", expected.top[i].token));
      }
    }
  }
}

TEST("sample: draws from large rows follow the definition, on every instruction set") {
  std::mt19937 random(1);
  const auto pick = [&](const auto& values) { return values[random() % std::size(values)]; };
  const auto normal = [&] {
    const double u = (random() + 1.0) / 0x1p32, v = random() / 0x1p32;
    return float(std::sqrt(-2 * std::log(u)) * std::cos(2 * std::numbers::pi * v));
  };
  const std::pair<const char*, std::function<float(int)>> kinds[] = {
      {"normal", [&](int) { return 3 * normal(); }},
      {"flat", [&](int) { return 0.01f * normal(); }},
      {"steep", [&](int) { return 40 * normal(); }},
      {"tied", [&](int) { return std::round(normal()) / 2; }},
      {"equal", [&](int) { return 1.5f; }},
      {"two levels", [&](int) { return float(random() % 2); }},
      {"signed zeros", [&](int) { return random() % 2 == 0 ? 0.0f : -0.0f; }},
      {"ascending", [&](int id) { return float(id) / 16; }},
      {"broken", [&](int) { return pick(std::vector<float>{normal(), kNan, -kInf, random() % 50 > 0 ? 1 : kInf}); }},
      {"huge", [&](int) { return normal() * 1e38f; }},
      {"reserved above", [&](int id) { return normal() + (is_reserved(id) ? 50 : 0); }},
      {"few above", [&](int) { return normal() + (random() % 4096 == 0 ? 15 : 0); }},
  };
  for (const auto& [vocab, rows] : {std::pair(1000, 60), {1025, 120}, {5000, 240}, {201088, 36}}) {
    for (int row = 0; row < rows; ++row) {
      const auto& [kind, logit] = kinds[size_t(row) % std::size(kinds)];
      std::vector<float> logits(static_cast<size_t>(vocab));
      for (int id = 0; id < vocab; ++id) logits[size_t(id)] = logit(id);
      SamplingArgs args = kNeutral;
      args.temperature = pick(std::vector<float>{0, 1e-3f, 1e-42f, 0.6f, 1, 1, 1, 1.7f, 100});
      args.top_k = pick(std::vector<int>{0, 0, 0, 0, 2, 50, 1024, 1500, vocab, vocab + 1});
      args.top_p = pick(std::vector<float>{1, 1, 1, 0.999999f, 0.9f, 0.5f, 1e-6f, 1e-30f});
      args.min_p = pick(std::vector<float>{0, 0, 0, 1e-4f, 0.05f, 0.5f, 1, 1e-44f});
      args.position = uint32_t(random());
      args.mask_reserved = int(random() % 2);
      check_by_definition(kind, args, logits, pick(std::vector<int>{0, 1, 20}));
    }
  }
}

// The draw falls among tokens whose weight is below the error of a kernel's sum: then the literal sums decide.
TEST("sample: a draw that the kernel's accuracy cannot decide is decided by definition") {
  const int vocab = 201088;
  SamplingArgs args = kNeutral;
  args.mask_reserved = 0;
  int among = 0;
  for (args.position = 0; args.position < 8; ++args.position) {
    const double u = uniform(args), dust = 1e-6;
    std::vector<float> logits(vocab, float(std::log(dust / vocab)));
    logits.front() = float(std::log((u * (1 + dust) - dust / 2) / (1 - u)));
    logits.back() = 0;
    check_by_definition("dust", args, logits);
    const int token = draw(args, logits);
    among += token > 0 && token < vocab - 1;
  }
  CHECK(among >= 4);  // the rounding of the first logit can exceed the weight of all small tokens
}

// The highest token after penalties and bias, with the log probability of the original logits.
Sampled greedy(SamplingArgs args, const std::vector<float>& logits, const Seen& seen, const Biases& bias) {
  args.temperature = 0;
  return sample(args, logits, {.seen = seen, .bias = bias, .top_logprobs = 0});
}

TEST("sample: the repetition penalty lowers every token seen, whatever its sign") {
  SamplingArgs args = kNeutral;
  args.repetition_penalty = 2;
  CHECK_EQ(greedy(args, {3, 2, 1}, {{0, 0}}, {}).token, 1);        // 1.5
  CHECK_EQ(greedy(args, {3, 1.5f, 1}, {{0, 1}}, {}).token, 0);     // a tie: the lowest id
  CHECK_EQ(greedy(args, {3, 1.25f, 1}, {{0, 9}}, {}).token, 0);    // counts once, even if it was seen often
  CHECK_EQ(greedy(args, {-1, -1.5f, -3}, {{0, 0}}, {}).token, 1);  // -2
  CHECK_EQ(greedy(args, {0, -1}, {{0, 1}}, {}).token, 0);
  CHECK_EQ(greedy(args, {kNan, -kInf, -3}, {{0, 1}, {1, 1}, {2, 1}}, {}).token, 2);
  args.repetition_penalty = 0.5f;
  CHECK_EQ(greedy(args, {1, 1.5f}, {{0, 0}}, {}).token, 0);  // 2
}

TEST("sample: presence counts once and frequency each time, both for the completion alone") {
  SamplingArgs args = kNeutral;
  args.presence_penalty = 1;
  CHECK_EQ(greedy(args, {3, 2.5f, 1}, {{0, 0}}, {}).token, 0);
  CHECK_EQ(greedy(args, {3, 2.5f, 1}, {{0, 1}}, {}).token, 1);
  CHECK_EQ(greedy(args, {3, 1.5f, 1}, {{0, 9}}, {}).token, 0);
  args.presence_penalty = 0;
  args.frequency_penalty = 0.5f;
  CHECK_EQ(greedy(args, {3, 1.75f}, {{0, 2}}, {}).token, 0);
  CHECK_EQ(greedy(args, {3, 1.75f}, {{0, 3}}, {}).token, 1);
  args.frequency_penalty = -0.5f;
  CHECK_EQ(greedy(args, {1, 1.75f}, {{0, 2}}, {}).token, 0);
  args = kNeutral;
  args.repetition_penalty = 2;  // first the quotient, then the differences, then the bias: 8/2 - 1 - 3·0.5 + 0.25
  args.presence_penalty = 1;
  args.frequency_penalty = 0.5f;
  CHECK_EQ(greedy(args, {8, 1.5f}, {{0, 3}}, {}).token, 0);
  CHECK_EQ(greedy(args, {8, 1.75f}, {{0, 3}}, {{0, 0.25f}}).token, 0);
  CHECK_EQ(greedy(args, {8, 1.76f}, {{0, 3}}, {{0, 0.25f}}).token, 1);
}

TEST("sample: only allowed tokens are drawn, whatever penalties and bias; the log probability stays the model's") {
  const std::vector<float> logits = {1, 2, 3, 4, 5};
  const Biases bias = {{4, 100}, {1, -kInf}};
  const auto drawn = [&](uint32_t allowed, const Biases& biases, float temperature) {
    SamplingArgs args = kNeutral;
    args.temperature = temperature;
    return sample(args, logits, {.seen = {}, .bias = biases, .top_logprobs = 2, .allowed = {&allowed, 1}});
  };
  const Sampled greedy_one = drawn(0b00101, bias, 0);
  CHECK_EQ(greedy_one.token, 2);
  CHECK_EQ(greedy_one.top[0].token, 4);
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit);
  CHECK(std::fabs(greedy_one.logprob - (3 - std::log(sum))) < 1e-5);
  CHECK_EQ(drawn(0b00011, {}, 0).token, 1);
  CHECK_EQ(drawn(0b00011, bias, 1).token, 0);
  CHECK_EQ(drawn(0b00010, bias, 1).token, 1);  // banned, but the only allowed token
  CHECK_EQ(drawn(0b11010, {{1, -kInf}, {3, -kInf}, {4, -kInf}}, 0).token, 1);
}

// Few allowed tokens are drawn by a separate path, many in place. Both must equal the row with the other tokens banned.
TEST("sample: allowed tokens are drawn as if the others were banned one by one") {
  std::mt19937 random(5);
  std::normal_distribution<float> normal(0, 2.5f);
  constexpr int kVocab = 3000;
  std::vector<float> logits(kVocab);
  for (float& logit : logits) logit = normal(random);
  for (const int share : {2, 3, 40, 700}) {
    for (unsigned position = 0; position < 50; ++position) {
      SamplingArgs args = kNeutral;
      args.position = position;
      args.top_p = position % 2 == 0 ? 1 : 0.8f;
      args.top_k = position % 3 == 0 ? 20 : 0;
      std::vector<uint32_t> allowed((kVocab + 31) / 32);
      Biases banned;
      for (int token = 0; token < kVocab; ++token) {
        if (token == 1234 || random() % uint32_t(share) == 0) {
          allowed[size_t(token) / 32] |= 1u << (token % 32);
        } else {
          banned.push_back({token, -kInf});
        }
      }
      const Sampled by_mask = sample(args, logits, {.seen = {}, .bias = {}, .top_logprobs = 0, .allowed = allowed});
      const Sampled by_bias = sample(args, logits, {.seen = {}, .bias = banned, .top_logprobs = 0});
      CHECK_EQ(by_mask.token, by_bias.token);
      CHECK_EQ(by_mask.logprob, by_bias.logprob);
    }
  }
}

TEST("sample: a bias is added, -inf bans, and the log probability stays the model's") {
  const std::vector<float> logits = {std::log(0.5f), std::log(0.3f), std::log(0.2f)};
  const Sampled biased = greedy(kNeutral, logits, {}, {{2, 5}});
  CHECK_EQ(biased.token, 2);
  CHECK(std::fabs(biased.logprob - std::log(0.2f)) < 1e-6);
  CHECK_EQ(greedy(kNeutral, logits, {}, {{0, -kInf}}).token, 1);
  CHECK_EQ(greedy(kNeutral, logits, {}, {{0, -1}, {0, 1}, {1, 0.25f}}).token, 0);  // two biases of one token add up
  for (SamplingArgs args = kNeutral; args.position < 100; ++args.position) {
    const Biases bans = {{0, -kInf}, {1, -kInf}};
    CHECK_EQ(sample(args, logits, {.seen = {}, .bias = bans, .top_logprobs = 0}).token, 2);
  }
  const Biases all = {{0, -kInf}, {1, -kInf}, {2, -kInf}};
  const Sampled none = sample(kNeutral, logits, {.seen = {}, .bias = all, .top_logprobs = 3});
  CHECK_EQ(none.token, 0);
  CHECK(std::fabs(none.logprob - std::log(0.5f)) < 1e-6);
  CHECK_EQ(none.top.size(), size_t(3));  // of the raw logits, too
}

TEST("sample: logits are unchanged afterwards, bit for bit") {
  std::vector<float> logits = {1, -0.0f, kInf, -kInf, 7};
  const Seen seen = {{0, 1}, {1, 2}, {2, 0}, {3, 1}};
  const Biases bias = {{0, 1}, {2, -kInf}, {0, 3}};
  SamplingArgs args = kNeutral;
  args.repetition_penalty = 1.7f;
  args.presence_penalty = 0.3f;
  sample_row(args, {.seen = seen, .bias = bias, .top_logprobs = 2}, logits.data(), 5);
  CHECK(logits[0] == 1 && logits[1] == 0 && std::signbit(logits[1]) && logits[2] == kInf && logits[3] == -kInf);
}

TEST("sample: the most probable tokens, best first, the lower id first among equals") {
  const auto top = [](const SamplingArgs& args, const std::vector<float>& logits, int n) {
    std::string ids;
    for (const auto& [token, logprob] : sample(args, logits, {.seen = {}, .bias = {}, .top_logprobs = n}).top) {
      ids += str(ids.empty() ? "" : " ", token);
    }
    return ids;
  };
  CHECK_EQ(top(kNeutral, {1, 3, 2, 3, 3}, 0), "");
  CHECK_EQ(top(kNeutral, {1, 3, 2, 3, 3}, 1), "1");
  CHECK_EQ(top(kNeutral, {1, 3, 2, 3, 3}, 2), "1 3");
  CHECK_EQ(top(kNeutral, {1, 3, 2, 3, 3}, 4), "1 3 4 2");
  CHECK_EQ(top(kNeutral, {1, 3, 2, 3, 3}, 20), "1 3 4 2 0");
  CHECK_EQ(top(kNeutral, {kNan, -kInf, -1, kInf, std::numeric_limits<float>::max()}, 20), "3 4 2");
  std::vector<float> logits(201088);
  for (size_t id = 0; id < logits.size(); ++id) logits[id] = float((id * 7919) % 201088) / 1000;
  logits[200001] = 1000;
  logits[200012] = 999;
  logits[200011] = 998;
  SamplingArgs args = kNeutral;
  CHECK_EQ(top(args, logits, 1), "200012");
  args.mask_reserved = 0;
  CHECK_EQ(top(args, logits, 3), "200001 200012 200011");
  const Sampled sampled = sample(args, logits, {.seen = {}, .bias = {}, .top_logprobs = 20});
  CHECK_EQ(sampled.top.size(), size_t(20));
  CHECK(std::fabs(sampled.top[1].logprob - (-1 - std::log(1 + std::exp(-1.0) + std::exp(-2.0)))) < 1e-5);
  for (size_t i = 1; i < sampled.top.size(); ++i) {
    CHECK(logits[sampled.top[i - 1].token] >= logits[sampled.top[i].token]);
  }
}

}  // namespace
}  // namespace oss
