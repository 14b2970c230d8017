#include "test/kernels/gpu/sample_batch.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace oss::test::sampling {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kLargest = std::numeric_limits<float>::max();

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

}  // namespace

Batch random_batch(uint32_t seed, int vocab, int draws) {
  Random random(seed);
  const int rows = (draws * 3 + 3) / 4;
  Batch batch = {vocab, std::vector<float>(size_t(rows) * vocab), {}};
  for (int row = 0; row < rows; ++row) fill_row(Shape(row % kShapes), random, batch.row(row), vocab);
  for (int i = 0; i < draws; ++i) batch.draws.push_back(random_draw(random, i < rows ? i : random.below(rows), vocab));
  std::shuffle(batch.draws.begin(), batch.draws.end(), std::mt19937(seed));
  return batch;
}

Batch full_vocab_batch(int most_top) {
  Random random(11);
  Batch batch = {kFullVocab, std::vector<float>(size_t(3) * kFullVocab), {}};
  fill_row(kNormal, random, batch.row(0), kFullVocab);
  fill_row(kConstant, random, batch.row(1), kFullVocab);
  fill_row(kHoles, random, batch.row(2), kFullVocab);
  for (int id = 199990; id < kFullVocab; id += 3) batch.row(0)[id] = 15 + random.normal(1);  // mostly reserved ids
  const auto draw = [&](int row, float temperature, int top_k, float top_p, float min_p, int mask) {
    Draw one = random_draw(random, row, kFullVocab);
    one.top = std::min(one.top, most_top);
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
  return batch;
}

Batch reserved_batch(const std::vector<int>& ids) {
  Batch batch = {kFullVocab, std::vector<float>(kFullVocab, 0.0f), {}};
  for (const int id : ids) {
    Draw draw;
    draw.args.temperature = 0;
    draw.args.mask_reserved = 1;
    draw.bias = {{id, 9}, {17, 8}};
    batch.draws.push_back(draw);
  }
  return batch;
}

Batch last_kept_batch() {
  Batch batch = {kFullVocab, std::vector<float>(kFullVocab), {}};
  for (int id = 0; id < kFullVocab; ++id) batch.logits[size_t(id)] = 5 - float(id) * (20.0f / kFullVocab);
  for (const auto& [top_k, top_p] : {std::pair(0, 0.5f), {0, 0.99f}, {0, 0.9999f}, {100000, 0.999f}, {77777, 1.0f}}) {
    Draw draw;
    draw.args.top_k = top_k;
    draw.args.top_p = top_p;
    draw.args.position = 1567873645;  // of seed 7: u = 1 - 1.3e-10
    batch.draws.push_back(draw);
  }
  return batch;
}

Batch ties_batch() {
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
  return batch;
}

}  // namespace oss::test::sampling
