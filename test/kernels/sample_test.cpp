// Sampling of one row. test/lib/sampling.test.ts holds it equal to the TypeScript reference on thousands of rows; here
// are the properties that need no reference.
#include "kernels/cpu/sample.h"

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
    .mask_reserved = 1,
};

int draw(const SamplingArgs& args, const std::vector<float>& logits) {
  return cpu::sample_row(args, logits.data(), int(logits.size())).token;
}

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
  const std::vector<float> logits = {kNan, -kInf, kNan};
  const cpu::SampledToken sampled = cpu::sample_row(kNeutral, logits.data(), 3);
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
  const cpu::SampledToken best = cpu::sample_row(args, logits.data(), int(logits.size()));
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
}

}  // namespace
}  // namespace oss
