// Sampling of one row. test/lib/sampling.test.ts holds it equal to the TypeScript reference on thousands of rows; here
// are the properties that need no reference.
#include "native/backend/cpu/sample_row.h"

#include <cmath>
#include <limits>
#include <vector>

#include "kernels/common/philox.h"
#include "test/native/check.h"

namespace oss {
namespace {

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

// How often each id is drawn at positions 0..draws-1.
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
  args.choice = 1;  // of several completions of one prompt
  CHECK(draw(args, flat) != first);
}

// The token that is highest after penalties and bias, and the log probability of the logits themselves.
Sampled greedy(SamplingArgs args, const std::vector<float>& logits, const Seen& seen, const Biases& bias) {
  args.temperature = 0;
  return sample(args, logits, {.seen = seen, .bias = bias, .top_logprobs = 0});
}

TEST("sample: the repetition penalty moves every token seen towards less, whatever its sign") {
  SamplingArgs args = kNeutral;
  args.repetition_penalty = 2;
  CHECK_EQ(greedy(args, {3, 2, 1}, {{0, 0}}, {}).token, 1);        // 1.5
  CHECK_EQ(greedy(args, {3, 1.5f, 1}, {{0, 1}}, {}).token, 0);     // a tie: the lowest id
  CHECK_EQ(greedy(args, {3, 1.25f, 1}, {{0, 9}}, {}).token, 0);    // once, however often it was seen
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

TEST("sample: a bias is added, -inf bans, and the log probability stays the model's") {
  const std::vector<float> logits = {std::log(0.5f), std::log(0.3f), std::log(0.2f)};
  const Sampled biased = greedy(kNeutral, logits, {}, {{2, 5}});
  CHECK_EQ(biased.token, 2);
  CHECK(std::fabs(biased.logprob - std::log(0.2f)) < 1e-6);
  CHECK_EQ(greedy(kNeutral, logits, {}, {{0, -kInf}}).token, 1);
  CHECK_EQ(greedy(kNeutral, logits, {}, {{0, -1}, {0, 1}, {1, 0.25f}}).token, 0);  // two of one token: both
  for (SamplingArgs args = kNeutral; args.position < 100; ++args.position) {
    const Biases bans = {{0, -kInf}, {1, -kInf}};
    CHECK_EQ(sample(args, logits, {.seen = {}, .bias = bans, .top_logprobs = 0}).token, 2);
  }
  const Biases all = {{0, -kInf}, {1, -kInf}, {2, -kInf}};
  const Sampled none = sample(kNeutral, logits, {.seen = {}, .bias = all, .top_logprobs = 3});
  CHECK_EQ(none.token, 0);
  CHECK(std::fabs(none.logprob - std::log(0.5f)) < 1e-6);
  CHECK_EQ(none.top.size(), size_t(3));  // of the raw logits too
}

TEST("sample: logits are what they were afterwards, bit for bit") {
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
