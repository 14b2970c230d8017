// The device sums weights in units of 2^-45, the CPU in float64. They can differ when a draw or top-p's mass falls within
// 2^-28 of a border between two tokens, 2^-37 as a rule.
#include "kernels/metal/sample.h"

#include <bit>
#include <limits>
#include <numbers>

#include "test/kernels/gpu/sample_checks.h"
#include "test/kernels/metal/support.h"

namespace oss::test::sampling {
namespace {

// Float32 adds twice and rounds a logarithm: 2^-22 of the result. The sum of weights has an error of 2^-28.
constexpr Tolerance kTolerance = {0x1p-28f, 0x1p-22f};

std::vector<SampleResult> run_batch(MetalDevice& device, const Batch& batch, bool twice = false) {
  constexpr size_t kSpare = 3;  // results past the end
  const int rows = int(batch.draws.size());
  Lists<SampleRow, SampleSeen, SampleBias> lists(batch);
  std::vector<uint32_t> allowed;
  for (size_t i = 0; i < batch.draws.size(); ++i) {
    const std::vector<uint32_t>& of_draw = batch.draws[i].allowed;
    lists.rows[i].allowed_begin = of_draw.empty() ? -1 : int(allowed.size());
    allowed.insert(allowed.end(), of_draw.begin(), of_draw.end());
  }
  const MetalArray<float> logits(device, batch.logits);
  const MetalArray<SampleRow> there_rows(device, lists.rows);
  const MetalArray<SampleSeen> there_seen(device, lists.seen);
  const MetalArray<SampleBias> there_bias(device, lists.bias);
  const MetalArray<uint32_t> there_allowed(device, allowed);
  const size_t scratch_bytes = metal::sample_scratch_bytes(rows, batch.vocab);
  const MetalArray<uint8_t> scratch(device, scratch_bytes + 256);
  const MetalArray<SampleResult> out(device, size_t(rows) + kSpare);
  const metal::SampleInputs inputs = {.parameters = there_rows.data(),
                                      .seen = there_seen.data(),
                                      .bias = there_bias.data(),
                                      .allowed = there_allowed.data(),
                                      .seen_count = lists.seen.size(),
                                      .bias_count = lists.bias.size(),
                                      .allowed_count = allowed.size(),
                                      .logit_rows = batch.logits.size() / size_t(batch.vocab)};
  metal::sample(device.encoder, rows, batch.vocab, logits.data(), inputs, scratch.data(), out.data());
  std::vector<SampleResult> results = out.read();
  CHECK(all_bytes(logits.read()) == all_bytes(batch.logits));
  CHECK(is_untouched(all_bytes(std::vector<SampleResult>(results.begin() + rows, results.end()))));
  CHECK(is_untouched({scratch.data() + scratch_bytes, scratch.data() + scratch.size()}));
  if (twice) {  // a step finds the scratch memory of the previous step
    metal::sample(device.encoder, rows, batch.vocab, logits.data(), inputs, scratch.data(), out.data());
    CHECK(all_bytes(out.read()) == all_bytes(results));
  }
  results.resize(size_t(rows));
  return results;
}

void check_batch(MetalDevice& device, Batch batch, bool twice = false) {
  check_draws(device.name, batch, run_batch(device, batch, twice), kTolerance);
}

// Some of the draws in each order of the threads, because an emulated row takes its time.
void check_parts(const Batch& batch, size_t most) {
  size_t next = 0;
  for_each_metal_device([&](MetalDevice& device) {
    Batch part = {batch.vocab, batch.logits, {}};
    for (; part.draws.size() < most && next < batch.draws.size(); ++next) part.draws.push_back(batch.draws[next]);
    check_batch(device, std::move(part));
  });
}

TEST("metal sample: the CPU's tokens and log probabilities, for all parameters and shapes of logits") {
  uint32_t seed = 100;
  for_each_metal_device([&](MetalDevice& device) {  // other draws in each order of the threads
    check_batch(device, random_batch(++seed, 1, 20));
    check_batch(device, random_batch(++seed, 5, 100));
    for (const int vocab : {301, 2000, 2048}) check_batch(device, random_batch(++seed, vocab, 80), vocab == 301);
    for (const int vocab : {2049, 5003}) check_batch(device, random_batch(++seed, vocab, 25));
  });
}

TEST("metal sample: the full vocabulary") { check_parts(full_vocab_batch(2), 3); }

TEST("metal sample: reserved ids are masked one by one") {
  const std::vector<int> ids = {199999, 200000, 200001, 200002, 200003, 200004, 200005, 200007, 200008,
                                200009, 200010, 200011, 200012, 200013, 200100, 201087, 0,      150000};
  for (const int id : ids) {
    const bool is_masked =
        id >= 200000 && id != 200002 && id != 200003 && !(id >= 200005 && id <= 200008) && id != 200012;
    CHECK_EQ(sample_is_reserved(id), is_masked);
  }
  for_each_metal_device([](MetalDevice& device) { check_batch(device, reserved_batch({200001, 200012})); });
}

TEST("metal sample: the last token that top-p keeps") { check_parts(last_kept_batch(), 2); }

TEST("metal sample: ties at the limits of top-k and top-p are kept by their ids") {
  for_each_metal_device([](MetalDevice& device) {
    Batch batch = ties_batch();
    const std::vector<SampleResult> results = run_batch(device, batch);
    check_ties(batch, results);
    check_draws(device.name, batch, results, kTolerance);
  });
}

TEST("metal sample: a draw does not depend on the other rows") {
  for_each_metal_device([](MetalDevice& device) {
    const Batch batch = random_batch(9, 2100, 20);  // three portions
    const std::vector<SampleResult> together = run_batch(device, batch);
    for (size_t i = 0; i < batch.draws.size(); i += 3) {
      const SampleResult alone = run_batch(device, {batch.vocab, batch.logits, {batch.draws[i]}})[0];
      CHECK(all_bytes<SampleResult>({alone}) == all_bytes<SampleResult>({together[i]}));
    }
  });
}

TEST("metal sample: a step without rows") {
  for_each_metal_device([](MetalDevice& device) {
    CHECK(run_batch(device, {301, std::vector<float>(301, 1.0f), {}}).empty());
    CHECK_EQ(device.encoder.dispatches(), 0);
  });
}

// --- the arithmetic

__extension__ typedef unsigned __int128 Wide;

uint32_t rank_of(float logit) { return sample_rank(std::bit_cast<uint32_t>(logit)); }

TEST("metal sample: halvings and weights are those of float64") {
  Random random(21);
  double worst_t = 0, worst_weight = 0;
  for (int i = 0; i < 300000; ++i) {
    const float deviation = random.of({1e-6f, 1e-3f, 1.0f, 20.0f, 1e4f}),
                centre = random.of({0.0f, 1.0f, 20.0f, -50.0f});
    const float a = centre + random.normal(deviation), b = centre + random.normal(deviation);
    const float temperature = random.of({1.0f, 0.7f, 0.01f, 2.5f, 100.0f, 1e-4f, 1e-30f, 1e-40f});
    const long double exact =
        ((long double)std::max(a, b) - std::min(a, b)) / ((long double)temperature * std::numbers::ln2_v<long double>);
    const uint64_t t = sample_halvings(rank_of(std::max(a, b)), rank_of(std::min(a, b)), sample_scale(temperature));
    if (exact >= 256) {
      CHECK_EQ(t, ~uint64_t(0));
    } else {
      worst_t = std::max(worst_t, double(std::fabs((long double)t * 0x1p-56L - exact) / (0x1p-56L + exact * 0x1p-61L)));
    }
    const uint64_t at =
        random.below(2) == 0 ? t : (uint64_t(random.bits()) << 32 | random.bits()) >> random.of({2, 5, 9});
    const long double weight = std::exp2((long double)at * -0x1p-56L) * 0x1p45L;
    const long double error = std::fabs((long double)sample_weight(at) - weight);
    worst_weight = std::max(worst_weight, double(error / (0.5L + weight * 0x1p-45L)));
  }
  CHECK(worst_t <= 1);
  CHECK(worst_weight <= 1);
  CHECK_EQ(sample_weight(0), uint64_t(1) << 45);
  CHECK_EQ(sample_weight(uint64_t(1) << 56), uint64_t(1) << 44);
  CHECK_EQ(sample_weight(~uint64_t(0)), 0u);
  constexpr float kLargest = std::numeric_limits<float>::max();
  CHECK_EQ(sample_halvings(rank_of(kLargest), rank_of(-kLargest), sample_scale(100)), ~uint64_t(0));
}

TEST("metal sample: logarithms, and the fraction of a total") {
  Random random(22);
  for (int i = 0; i < 20000; ++i) {
    const uint64_t v = ((uint64_t(random.bits()) << 32 | random.bits()) >> random.below(64)) | 1;
    CHECK(std::fabs((long double)sample_log2(v) * 0x1p-56L - std::log2((long double)v)) < 0x1p-49L);
    const uint64_t sum = (uint64_t(1) << 45) + (v >> random.of({2, 18, 40}));
    const double ln = std::log(double(sum) * 0x1p-45);
    CHECK(std::fabs(double(sample_ln(sum)) - ln) <= 0x1p-48 + 0x1p-23 * ln);

    const float top_p = random.of({0.5f, 0.75f, 0.1f, 0.99999994f, 1e-10f, 1e-30f, 1e-40f, 0x1p-45f});
    const uint64_t total = sum >> 1;
    // found is the least number with found >= mantissa · total · 2^(exponent - 24).
    int exponent = 0;
    const auto mantissa = uint64_t(std::frexp(top_p, &exponent) * 0x1p24f);
    const int down = 24 - exponent;
    const uint64_t found = sample_fraction(total, top_p);
    CHECK(found >= 1);
    const Wide product = Wide(mantissa) * total;
    CHECK(down >= 128 || product >> down < found || (product >> down == found && product >> down << down == product));
    CHECK(found == 1 || Wide(found - 1) << down < product);
  }
  CHECK_EQ(sample_fraction(uint64_t(8) << 45, 0.75f), uint64_t(6) << 45);
  CHECK_EQ(sample_fraction(5, 0.5f), 3u);
  for (const float min_p : {1.0f, 0.5f, 0.05f, 0.001f, 1e-20f, 1e-40f, 1e-45f}) {
    const long double exact = -std::log2((long double)min_p), found = (long double)sample_halvings_to(min_p) * 0x1p-56L;
    CHECK(found >= exact && found < exact + 0x1p-49L);
  }
}

}  // namespace
}  // namespace oss::test::sampling
