// The device draws the same tokens as the CPU. test/lib/generation/sampling.test.ts compares the CPU with
// lib/generation/sampling.ts. The device sums weights in units of 2^-45, the CPU in float64. They can differ when a
// draw or top-p's mass falls within 2^-28 of a border between two tokens, 2^-37 as a rule. The seeds here avoid that.
#include "kernels/metal/sample.h"

#include <algorithm>
#include <limits>
#include <numbers>

#include "native/backend/cpu/sample_row.h"
#include "test/kernels/metal/support.h"

namespace oss::test {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kLargest = std::numeric_limits<float>::max();
constexpr int kFullVocab = 201088;
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
    .mask_reserved = 0,
};

// One draw: its row of the batch's logits, and its parameters.
struct Draw {
  int row = 0;
  SamplingArgs args = kNeutral;
  std::vector<SamplingContext::Seen> seen;
  std::vector<SamplingContext::Bias> bias;
  int top = 0;
  std::vector<uint32_t> allowed{};
};
struct Batch {
  int vocab;
  std::vector<float> logits;  // [rows, vocab]
  std::vector<Draw> draws;
  float* row(int row) { return logits.data() + size_t(row) * vocab; }
};

// Float32 adds twice and rounds a logarithm: 2^-22 of the result. The sum of weights has an error of 2^-28.
bool same_logprob(float a, float b) { return a == b || std::fabs(a - b) <= 0x1p-28f + 0x1p-22f * std::fabs(b); }

std::string described(const Batch& batch, size_t i) {
  const Draw& draw = batch.draws[i];
  const SamplingArgs& a = draw.args;
  return str("vocab ", batch.vocab, ", draw ", i, " of ", batch.draws.size(), ", temperature ", a.temperature,
             ", top_k ", a.top_k, ", top_p ", a.top_p, ", min_p ", a.min_p, ", penalties ", a.repetition_penalty, " ",
             a.presence_penalty, " ", a.frequency_penalty, ", ", draw.seen.size(), " seen, ", draw.bias.size(),
             " biases, ", draw.allowed.size(), " words of allowed tokens, first logit ",
             batch.logits[size_t(draw.row) * batch.vocab]);
}

void check_draw(const std::string& device, Batch& batch, size_t i, const SampleResult& got) {
  const Draw& draw = batch.draws[i];
  const SamplingContext context = {
      .seen = draw.seen, .bias = draw.bias, .top_logprobs = draw.top, .allowed = draw.allowed};
  const Sampled expected = sample_row(draw.args, context, batch.row(draw.row), batch.vocab);
  const auto wrong = [&](const auto& what, const auto& wanted, const auto& found) {
    fail(__FILE__, __LINE__,
         str(device, ": ", described(batch, i), ": ", what, ": expected ", wanted, ", got ", found));
  };
  if (got.token != expected.token) return wrong("token", expected.token, got.token);
  if (!same_logprob(got.logprob, expected.logprob)) return wrong("logprob", expected.logprob, got.logprob);
  if (got.num_top != int(expected.top.size())) return wrong("num_top", expected.top.size(), got.num_top);
  for (int k = 0; k < got.num_top; ++k) {
    const TopLogprob& top = expected.top[size_t(k)];
    if (got.top_token[k] != top.token) return wrong(str("top ", k), top.token, got.top_token[k]);
    if (!same_logprob(got.top_logprob[k], top.logprob))
      return wrong(str("top logprob ", k), top.logprob, got.top_logprob[k]);
  }
}

template <typename T>
std::vector<uint8_t> all_bytes(const std::vector<T>& values) {
  std::vector<uint8_t> bytes(values.size() * sizeof(T));
  if (!values.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}
bool is_untouched(const std::vector<uint8_t>& bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](uint8_t byte) { return byte == 0xCD; });
}

std::vector<SampleResult> run_batch(MetalDevice& device, const Batch& batch, bool twice = false) {
  constexpr size_t kSpare = 3;  // results past the end
  const int rows = int(batch.draws.size());
  std::vector<SampleRow> described_rows;
  std::vector<SampleSeen> seen;
  std::vector<SampleBias> bias;
  std::vector<uint32_t> allowed;
  for (const Draw& draw : batch.draws) {
    described_rows.push_back({.args = draw.args,
                              .row = draw.row,
                              .seen_begin = int(seen.size()),
                              .seen_end = int(seen.size() + draw.seen.size()),
                              .bias_begin = int(bias.size()),
                              .bias_end = int(bias.size() + draw.bias.size()),
                              .top_logprobs = draw.top,
                              .allowed_begin = draw.allowed.empty() ? -1 : int(allowed.size())});
    for (const auto& [token, in_completion] : draw.seen) seen.push_back({token, in_completion});
    for (const auto& [token, value] : draw.bias) bias.push_back({token, value});
    allowed.insert(allowed.end(), draw.allowed.begin(), draw.allowed.end());
  }
  const MetalArray<float> logits(device, batch.logits);
  const MetalArray<SampleRow> there_rows(device, described_rows);
  const MetalArray<SampleSeen> there_seen(device, seen);
  const MetalArray<SampleBias> there_bias(device, bias);
  const MetalArray<uint32_t> there_allowed(device, allowed);
  const size_t scratch_bytes = metal::sample_scratch_bytes(rows, batch.vocab);
  const MetalArray<uint8_t> scratch(device, scratch_bytes + 256);
  const MetalArray<SampleResult> out(device, size_t(rows) + kSpare);
  const metal::SampleInputs inputs = {.parameters = there_rows.data(),
                                      .seen = there_seen.data(),
                                      .bias = there_bias.data(),
                                      .allowed = there_allowed.data(),
                                      .seen_count = seen.size(),
                                      .bias_count = bias.size(),
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
  const std::vector<SampleResult> results = run_batch(device, batch, twice);
  for (size_t i = 0; i < batch.draws.size(); ++i) check_draw(device.name, batch, i, results[i]);
}

class Random {
 public:
  explicit Random(uint32_t seed) : engine_(seed) {}
  int below(int n) { return int(engine_() % unsigned(n)); }
  unsigned bits() { return unsigned(engine_()); }
  float normal(float deviation) { return std::normal_distribution<float>(0, deviation)(engine_); }
  template <typename T>
  T of(std::initializer_list<T> choices) {
    return choices.begin()[below(int(choices.size()))];
  }

 private:
  std::mt19937 engine_;
};

enum Shape { kNormal, kWide, kNarrow, kConstant, kFewValues, kHoles, kExtremes, kNothing, kShapes };

void fill_row(Shape shape, Random& random, float* row, int vocab) {
  const float constant = random.of({0.0f, -0.0f, 3.25f, -100.0f});
  for (int i = 0; i < vocab; ++i) {
    switch (shape) {
      case kNormal:
        row[i] = random.normal(2.5f);
        break;
      case kWide:
        row[i] = random.normal(200);
        break;
      case kNarrow:
        row[i] = 10 + random.normal(1e-4f);
        break;
      case kConstant:
        row[i] = constant;
        break;
      case kFewValues:
        row[i] = random.of({-1.0f, 0.0f, -0.0f, 0.5f, 2.0f});
        break;
      case kHoles:
        row[i] = random.of({kNan, -kInf, random.normal(3), random.normal(3)});
        break;
      case kExtremes:
        row[i] = random.of({kInf, -kInf, kLargest, -kLargest, 1e-40f, -1e-40f, kNan, random.normal(3)});
        break;
      default:
        row[i] = random.of({kNan, -kInf});
    }
  }
}

SamplingArgs random_args(Random& random, int vocab) {
  SamplingArgs args = kNeutral;
  args.temperature = random.of({0.0f, 1.0f, 1.0f, 0.7f, 0.01f, 2.5f, 100.0f, 1e-30f, 1e-40f});
  args.top_k = random.of({0, 0, 0, 1, 2, 40, vocab / 2, vocab, 1 << 30});
  args.top_p = random.of({1.0f, 1.0f, 0.95f, 0.5f, 0.1f, 1e-30f, 0.99999994f});
  args.min_p = random.of({0.0f, 0.0f, 0.0f, 0.05f, 0.5f, 1.0f, 1e-20f, 1e-40f});
  args.seed_lo = random.bits();
  args.seed_hi = random.bits();
  args.position = unsigned(random.below(1000));
  args.choice = unsigned(random.below(4));
  args.mask_reserved = random.below(2);
  if (random.below(3) == 0) {
    args.repetition_penalty = random.of({1.0f, 1.1f, 2.0f, 0.5f});
    args.presence_penalty = random.of({0.0f, 0.7f, -1.0f});
    args.frequency_penalty = random.of({0.0f, 0.3f, -0.1f});
  }
  return args;
}

Draw random_draw(Random& random, int row, int vocab) {
  Draw draw = {
      .row = row, .args = random_args(random, vocab), .seen = {}, .bias = {}, .top = random.of({0, 0, 0, 1, 5, 20})};
  if (random.below(2) == 0) {
    std::vector<int32_t> ids(size_t(std::min(vocab, 400)));
    for (int32_t& id : ids) id = random.below(vocab);
    std::sort(ids.begin(), ids.end());
    ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
    std::shuffle(ids.begin(), ids.end(), std::mt19937(random.bits()));
    for (const int32_t id : ids) draw.seen.push_back({id, random.below(4)});
  }
  if (random.below(4) == 0) {
    const int entries = random.of({1, 3, 20, 300});
    for (int i = 0; i < entries; ++i) {
      const int token = random.below(std::min(vocab, 50));  // few, so that they repeat
      draw.bias.push_back({token, random.of({0.1f, -0.3f, 5.0f, -kInf, 1e8f, -1e8f, random.normal(1)})});
    }
  }
  if (random.below(4) == 0) {
    draw.allowed.resize(size_t(vocab + 31) / 32);
    const int tokens = random.of({1, 2, 30, vocab});
    for (int i = 0; i < tokens; ++i) {
      const int token = random.below(vocab);
      draw.allowed[size_t(token) / 32] |= 1u << (token % 32);
    }
  }
  return draw;
}

// `draws` draws from rows of all shapes. Some rows are drawn from several times, like the choices of one prompt.
Batch random_batch(uint32_t seed, int vocab, int draws) {
  Random random(seed);
  const int rows = (draws * 3 + 3) / 4;
  Batch batch = {vocab, std::vector<float>(size_t(rows) * vocab), {}};
  for (int row = 0; row < rows; ++row) fill_row(Shape(row % kShapes), random, batch.row(row), vocab);
  for (int i = 0; i < draws; ++i) batch.draws.push_back(random_draw(random, i < rows ? i : random.below(rows), vocab));
  std::shuffle(batch.draws.begin(), batch.draws.end(), std::mt19937(seed));
  return batch;
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

TEST("metal sample: the full vocabulary") {
  Random random(11);
  Batch batch = {kFullVocab, std::vector<float>(size_t(3) * kFullVocab), {}};
  fill_row(kNormal, random, batch.row(0), kFullVocab);
  fill_row(kConstant, random, batch.row(1), kFullVocab);
  fill_row(kHoles, random, batch.row(2), kFullVocab);
  for (int id = 199990; id < kFullVocab; id += 3) batch.row(0)[id] = 15 + random.normal(1);  // mostly reserved ids
  const auto draw = [&](int row, float temperature, int top_k, float top_p, float min_p, int mask) {
    Draw one = random_draw(random, row, kFullVocab);
    one.top = std::min(one.top, 2);
    one.args = {.temperature = temperature,
                .top_k = top_k,
                .top_p = top_p,
                .min_p = min_p,
                .seed_lo = random.bits(),
                .seed_hi = random.bits(),
                .position = 3,
                .choice = 0,
                .repetition_penalty = 1.2f,
                .presence_penalty = 0.5f,
                .frequency_penalty = 0,
                .mask_reserved = mask};
    batch.draws.push_back(one);
  };
  draw(0, 0, 0, 1, 0, 1);
  draw(0, 1, 0, 1, 0, 1);
  draw(0, 1, 0, 0.95f, 0, 1);
  draw(0, 1, 1000, 0.95f, 0.001f, 1);
  draw(1, 1, 0, 0.3f, 0, 1);
  draw(1, 1, 150000, 0.7f, 0, 0);
  draw(2, 1, 0, 1, 0.01f, 1);
  draw(2, 0.8f, 0, 0.9f, 0, 1);
  // A part of the draws in each order of the threads: an emulated row takes its time.
  size_t next = 0;
  for_each_metal_device([&](MetalDevice& device) {
    Batch part = {kFullVocab, batch.logits, {}};
    for (; part.draws.size() < 3 && next < batch.draws.size(); ++next) part.draws.push_back(batch.draws[next]);
    check_batch(device, std::move(part));
  });
}

TEST("metal sample: reserved ids are masked one by one") {
  const std::vector<int> ids = {199999, 200000, 200001, 200002, 200003, 200004, 200005, 200007, 200008,
                                200009, 200010, 200011, 200012, 200013, 200100, 201087, 0,      150000};
  for (const int id : ids) {
    const bool is_masked =
        id >= 200000 && id != 200002 && id != 200003 && !(id >= 200005 && id <= 200008) && id != 200012;
    CHECK_EQ(sample_is_reserved(id), is_masked);
  }
  for_each_metal_device([](MetalDevice& device) {
    Batch batch = {kFullVocab, std::vector<float>(kFullVocab, 0.0f), {}};
    for (const int id : {200001, 200012}) {
      Draw draw;
      draw.args.temperature = 0;
      draw.args.mask_reserved = 1;
      draw.bias = {{id, 9}, {17, 8}};
      batch.draws.push_back(draw);
    }
    check_batch(device, std::move(batch));
  });
}

// The logits fall from id to id, and the draw is just below 1. So the token is the last one that is kept. It shows
// missing mass of the sum, here 1e-8, which other draws would not show.
TEST("metal sample: the last token that top-p keeps") {
  const std::vector<std::pair<int, float>> filters = {
      {0, 0.5f}, {0, 0.99f}, {0, 0.9999f}, {100000, 0.999f}, {77777, 1.0f}};
  size_t next = 0;
  for_each_metal_device([&](MetalDevice& device) {
    Batch batch = {kFullVocab, std::vector<float>(kFullVocab), {}};
    for (int id = 0; id < kFullVocab; ++id) batch.logits[size_t(id)] = 5 - float(id) * (20.0f / kFullVocab);
    for (; batch.draws.size() < 2 && next < filters.size(); ++next) {
      Draw draw;
      draw.args.top_k = filters[next].first;
      draw.args.top_p = filters[next].second;
      draw.args.position = 1567873645;  // of seed 7: u = 1 - 1.3e-10
      batch.draws.push_back(draw);
    }
    check_batch(device, std::move(batch));
  });
}

// Shows a sum over wrong tokens, or a wrong tie: the number of draws of each token.
TEST("metal sample: ties at the limits of top-k and top-p are kept by their ids") {
  for_each_metal_device([](MetalDevice& device) {
    constexpr int kVocab = 3000, kDraws = 60;
    Batch batch = {kVocab, std::vector<float>(kVocab, -1.0f), {}};
    for (const int id : {5, 700, 2100, 2101, 2999}) batch.logits[size_t(id)] = 1;
    for (unsigned i = 0; i < kDraws; ++i) {
      Draw draw;
      draw.args.position = i;
      draw.args.top_k = 1 + int(i) % 7;  // 6 and 7: the first one or two of the many
      if (i % 2 == 0) draw.args.top_p = 0.75f;
      batch.draws.push_back(draw);
    }
    const std::vector<SampleResult> results = run_batch(device, batch);
    const std::vector<int> order = {5, 700, 2100, 2101, 2999, 0, 1};
    std::vector<int> drawn(order.size());
    for (size_t i = 0; i < results.size(); ++i) {
      const auto place = std::find(order.begin(), order.end(), results[i].token) - order.begin();
      CHECK(place < batch.draws[i].args.top_k);
      if (place < int(order.size())) ++drawn[size_t(place)];
    }
    CHECK(std::all_of(drawn.begin(), drawn.begin() + 5, [](int count) { return count > 0; }));
    for (size_t i = 0; i < results.size(); ++i) check_draw(device.name, batch, i, results[i]);
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
}  // namespace oss::test
