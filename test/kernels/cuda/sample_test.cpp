// The device draws the same tokens as the CPU. test/lib/generation/sampling.test.ts compares the CPU with
// lib/generation/sampling.ts. The device and the CPU sum weights in different orders. They can differ when a draw or
// top-p's mass falls within 1e-13 of a border between two tokens. The seeds here avoid that.
#include <algorithm>
#include <limits>

#include "kernels/cuda/sample_scratch.h"
#include "native/backend/cpu/sample_row.h"
#include "test/kernels/cuda/support.h"

namespace oss::test {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kLargest = std::numeric_limits<float>::max();
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

// The device sums in float32 what the CPU sums in float64: 2 units in the last place of a logarithm, or 1e-6.
bool same_logprob(float a, float b) { return a == b || std::fabs(a - b) <= 1e-6f + 2.4e-7f * std::fabs(b); }

std::string described(const Batch& batch, size_t i) {
  const Draw& draw = batch.draws[i];
  const SamplingArgs& a = draw.args;
  return str("vocab ", batch.vocab, ", draw ", i, " of ", batch.draws.size(), ", temperature ", a.temperature,
             ", top_k ", a.top_k, ", top_p ", a.top_p, ", min_p ", a.min_p, ", penalties ", a.repetition_penalty, " ",
             a.presence_penalty, " ", a.frequency_penalty, ", ", draw.seen.size(), " seen, ", draw.bias.size(),
             " biases, first logit ", batch.logits[size_t(draw.row) * batch.vocab]);
}

void check_draw(const std::string& device, Batch& batch, size_t i, const cuda::SampleResult& got) {
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
std::vector<uint8_t> bytes_of(const std::vector<T>& values) {
  std::vector<uint8_t> bytes(values.size() * sizeof(T));
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

std::vector<cuda::SampleResult> run_batch(CudaDevice& device, const Batch& batch) {
  constexpr int kSpare = 3;  // rows of the capacity that the step does not fill
  const int rows = int(batch.draws.size());
  std::vector<cuda::SampleRow> described_rows;
  std::vector<cuda::SampleSeen> seen;
  std::vector<cuda::SampleBias> bias;
  std::vector<std::unique_ptr<DeviceArray<uint32_t>>> masks;
  for (const Draw& draw : batch.draws) {
    masks.push_back(draw.allowed.empty() ? nullptr : std::make_unique<DeviceArray<uint32_t>>(device, draw.allowed));
    cuda::SampleRow row = {.args = draw.args,
                           .row = draw.row,
                           .seen_begin = int(seen.size()),
                           .seen_end = int(seen.size() + draw.seen.size()),
                           .bias_begin = int(bias.size()),
                           .bias_end = int(bias.size() + draw.bias.size()),
                           .top_logprobs = draw.top,
                           .allowed = masks.back() == nullptr ? nullptr : masks.back()->data()};
    for (const auto& [token, in_completion] : draw.seen) seen.push_back({token, in_completion});
    for (const auto& [token, value] : draw.bias) bias.push_back({token, value});
    described_rows.push_back(row);
  }
  const cuda::SampleArgs args = {.rows = rows + kSpare, .vocab = batch.vocab};
  DeviceArray<float> logits(device, batch.logits);
  const DeviceArray<int32_t> num_rows(device, std::vector<int32_t>{rows});
  const DeviceArray<cuda::SampleRow> device_rows(device, described_rows);
  const DeviceArray<cuda::SampleSeen> device_seen(device, seen);
  const DeviceArray<cuda::SampleBias> device_bias(device, bias);
  const DeviceArray<std::byte> scratch(device, cuda::sample_scratch_bytes(args));
  const DeviceArray<cuda::SampleResult> out(device, size_t(args.rows));
  const auto sample = [&] {
    device.check(device.module.sample(args, num_rows.data(), logits.data(), device_rows.data(), device_seen.data(),
                                      device_bias.data(), scratch.data(), out.data(), device.stream),
                 "sample");
  };
  sample();
  std::vector<cuda::SampleResult> results = out.read();
  CHECK(bytes_of(logits.read()) == bytes_of(batch.logits));
  const std::vector<uint8_t> spare = bytes_of(std::vector<cuda::SampleResult>(results.begin() + rows, results.end()));
  CHECK(std::all_of(spare.begin(), spare.end(), [](uint8_t byte) { return byte == 0xCD; }));
  if (rows <= 64) {
    sample();  // a step reuses the scratch memory of the previous step
    CHECK(bytes_of(out.read()) == bytes_of(results));
  }
  results.resize(size_t(rows));
  return results;
}

void check_batch(CudaDevice& device, Batch batch) {
  const std::vector<cuda::SampleResult> results = run_batch(device, batch);
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
  args.temperature = random.of({0.0f, 1.0f, 1.0f, 0.7f, 0.01f, 2.5f, 100.0f, 1e-30f});
  args.top_k = random.of({0, 0, 0, 1, 2, 40, vocab / 2, vocab, 1 << 30});
  args.top_p = random.of({1.0f, 1.0f, 0.95f, 0.5f, 0.1f, 1e-30f, 0.99999994f});
  args.min_p = random.of({0.0f, 0.0f, 0.0f, 0.05f, 0.5f, 1.0f, 1e-20f});
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
      .row = row, .args = random_args(random, vocab), .seen = {}, .bias = {}, .top = random.of({0, 0, 1, 5, 20})};
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

TEST("cuda sample: the CPU's tokens and log probabilities, for all parameters and shapes of logits") {
  for_each_cuda_device([](CudaDevice& device) {
    check_batch(device, random_batch(1, 1, 64));
    check_batch(device, random_batch(2, 5, 200));
    for (uint32_t seed = 3; seed < 6; ++seed) check_batch(device, random_batch(seed, 301, 256));
    for (uint32_t seed = 7; seed < 9; ++seed) check_batch(device, random_batch(seed, 2000, 256));
    for (const int vocab : {2048, 2049, 5003}) check_batch(device, random_batch(uint32_t(vocab), vocab, 65));
  });
}

TEST("cuda sample: the full vocabulary") {
  for_each_cuda_device([](CudaDevice& device) {
    constexpr int kVocab = 201088;
    Random random(11);
    Batch batch = {kVocab, std::vector<float>(size_t(3) * kVocab), {}};
    fill_row(kNormal, random, batch.row(0), kVocab);
    fill_row(kConstant, random, batch.row(1), kVocab);
    fill_row(kHoles, random, batch.row(2), kVocab);
    for (int id = 199990; id < kVocab; id += 3) batch.row(0)[id] = 15 + random.normal(1);  // mostly reserved ids
    const auto draw = [&](int row, float temperature, int top_k, float top_p, float min_p, int mask) {
      Draw one = random_draw(random, row, kVocab);
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
    check_batch(device, std::move(batch));
  });
}

TEST("cuda sample: reserved ids are masked one by one") {
  for_each_cuda_device([](CudaDevice& device) {
    Batch batch = {201088, std::vector<float>(201088, 0.0f), {}};
    for (const int id : {199999, 200000, 200001, 200002, 200004, 200005, 200008, 200009, 200012, 200013, 201087}) {
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
TEST("cuda sample: the last token that top-p keeps") {
  for_each_cuda_device([](CudaDevice& device) {
    constexpr int kVocab = 201088;
    Batch batch = {kVocab, std::vector<float>(kVocab), {}};
    for (int id = 0; id < kVocab; ++id) batch.logits[size_t(id)] = 5 - float(id) * (20.0f / kVocab);
    for (const auto& [top_k, top_p] : {std::pair(0, 0.5f), {0, 0.99f}, {0, 0.9999f}, {100000, 0.999f}, {77777, 1.0f}}) {
      Draw draw;
      draw.args.top_k = top_k;
      draw.args.top_p = top_p;
      draw.args.position = 1567873645;  // of seed 7: u = 1 - 1.3e-10
      batch.draws.push_back(draw);
    }
    check_batch(device, std::move(batch));
  });
}

// Shows a sum over wrong tokens, or a wrong tie: the number of draws of each token.
TEST("cuda sample: ties at the limits of top-k and top-p are kept by their ids") {
  for_each_cuda_device([](CudaDevice& device) {
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
    const std::vector<cuda::SampleResult> results = run_batch(device, batch);
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

TEST("cuda sample: a step without rows, and a capacity of 0") {
  for_each_cuda_device([](CudaDevice& device) {
    CHECK(run_batch(device, {301, std::vector<float>(301, 1.0f), {}}).empty());
    const cuda::SampleArgs none = {.rows = 0, .vocab = 301};
    CHECK_EQ(device.module.sample(none, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, device.stream),
             0);
  });
}

}  // namespace
}  // namespace oss::test
