#include "test/kernels/gpu/experts_layer.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "kernels/common/mxfp4.h"

namespace oss::test {
namespace {

double swiglu(const ExpertsArgs& args, double gate, double up) {
  gate = std::min(gate, double(args.limit));
  up = std::clamp(up, -double(args.limit), double(args.limit));
  return gate / (1 + std::exp(-double(args.alpha) * gate)) * (up + 1);
}
float rounded(double activation) { return bf16_to_f32(f32_to_bf16(float(activation))); }

// Each of these tokens has one column that is not zero, and one expert.
ExpertsStep unit_step(const ExpertsArgs& args, int tokens, float value, int expert) {
  ExpertsStep step;
  step.normed.resize(size_t(tokens) * args.hidden);
  for (int t = 0; t < tokens; ++t) step.normed[size_t(t) * args.hidden + t] = value;
  step.index.resize(size_t(tokens), expert);
  step.weight.resize(size_t(tokens), 1);
  step.x.resize(size_t(tokens) * args.hidden);
  return step;
}

}  // namespace

RawExperts::RawExperts(int experts_, int rows_, int cols_) : experts(experts_), rows(rows_), cols(cols_) {
  const size_t values = size_t(experts) * rows * cols;
  blocks.resize(values / 2);
  scales.resize(values / kMxBlock, 127);
  bias.resize(size_t(experts) * rows);
}

void RawExperts::randomize(uint32_t seed, int least, int most) {
  blocks = random_bytes(blocks.size(), seed);
  scales = random_bytes(scales.size(), seed + 1, least, most);
  bias = random_floats(bias.size(), seed + 2, 0.5f);
}

size_t RawExperts::block_of(int expert, int row, int col) const {
  return (size_t(expert) * rows + row) * (cols / kMxBlock) + col / kMxBlock;
}

void RawExperts::set(int expert, int row, int col, int code, int scale) {
  uint8_t& byte = blocks[block_of(expert, row, col) * kMxBlockBytes + col % kMxBlock / 2];
  byte = uint8_t(col % 2 == 0 ? (byte & 0xF0) | code : (byte & 0x0F) | code << 4);
  scales[block_of(expert, row, col)] = uint8_t(scale);
}

double RawExperts::value(int expert, int row, int col) const {
  static const std::vector<double> factors = [] {
    std::vector<double> all;
    for (int e = 0; e < 255; ++e) all.push_back(std::ldexp(1.0, e - 127));
    all.push_back(std::numeric_limits<double>::quiet_NaN());
    return all;
  }();
  const size_t block = block_of(expert, row, col);
  const int byte = blocks[block * kMxBlockBytes + col % kMxBlock / 2], code = col % 2 == 0 ? byte & 15 : byte >> 4;
  constexpr double kMagnitudes[8] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
  return (code < 8 ? kMagnitudes[code] : -kMagnitudes[code - 8]) * factors[scales[block]];
}

ExpertsLayer::ExpertsLayer(int hidden, int intermediate, int experts, int top_k)
    : args{0, hidden, intermediate, experts, top_k, 7.0f, 1.702f},
      gate_up(experts, 2 * intermediate, hidden),
      down(experts, hidden, intermediate) {}

void ExpertsLayer::randomize(uint32_t seed) {
  gate_up.randomize(seed, 118, 124);
  down.randomize(seed + 3, 118, 124);
}

ExpertsStep ExpertsStep::part(const ExpertsArgs& args, int first, int count) const {
  return {rows_of(normed, args.hidden, first, count), rows_of(index, args.top_k, first, count),
          rows_of(weight, args.top_k, first, count), rows_of(x, args.hidden, first, count),
          adapted() ? adapters.part(first, count) : StepAdapters()};
}

ExpertsStep random_experts_step(const ExpertsArgs& args, int tokens, uint32_t seed) {
  ExpertsStep step;
  step.normed = exact_values(size_t(tokens) * args.hidden, seed);
  step.x = random_floats(size_t(tokens) * args.hidden, seed + 1);
  std::mt19937 random(seed + 2);
  for (int t = 0; t < tokens; ++t) {
    std::vector<int32_t> order;
    for (int e = 0; e < args.experts; ++e) order.push_back(e);
    std::shuffle(order.begin(), order.end(), random);
    step.index.insert(step.index.end(), order.begin(), order.begin() + args.top_k);
    for (int k = 0; k < args.top_k; ++k) step.weight.push_back(float(1 + random() % 1000) / 2000.0f);
  }
  return step;
}

void crowd(const ExpertsArgs& args, ExpertsStep& step) {
  for (size_t p = 0; p < step.index.size(); ++p) step.index[p] = args.experts - 1 - int(p) % args.top_k;
}

ExpertsReference::ExpertsReference(const ExpertsLayer& layer, const ExpertsStep& step)
    : x(step.x.begin(), step.x.end()), adapted(step.adapted()) {
  const int hidden = layer.args.hidden, intermediate = layer.args.intermediate, top_k = layer.args.top_k;
  std::vector<double> sums(size_t(2) * intermediate), act(size_t(intermediate), 0.0);
  for (size_t p = 0; p < step.index.size(); ++p) {
    const size_t t = p / size_t(top_k);
    const int e = step.index[p];
    const auto term = [&](int number) { return adapted ? step.adapters.term(int(t), number) : nullptr; };
    const float* normed = step.normed.data() + t * hidden;
    for (int r = 0; r < 2 * intermediate; ++r) {
      sums[r] = layer.gate_up.bias[size_t(e) * 2 * intermediate + r];
      for (int c = 0; c < hidden; ++c) sums[r] += layer.gate_up.value(e, r, c) * normed[c];
    }
    if (const Term* of_gate_up = term(1 + e)) of_gate_up->add(normed, sums.data());
    for (int i = 0; i < intermediate; ++i) act[i] = rounded(swiglu(layer.args, sums[2 * i], sums[2 * i + 1]));
    std::vector<double> added(size_t(hidden), 0.0);
    if (const Term* of_down = term(1 + layer.args.experts + e)) of_down->add(act.data(), added.data());
    for (int r = 0; r < hidden; ++r) {
      double total = layer.down.bias[size_t(e) * hidden + r] + added[size_t(r)];
      for (int i = 0; i < intermediate; ++i) {
        const double product = layer.down.value(e, r, i) * act[i];
        total += product;
        largest_term = std::max(largest_term, std::fabs(step.weight[p] * product));
      }
      x[t * hidden + r] += step.weight[p] * total;
    }
  }
}

void ExpertsReference::check(const std::string& what, const std::vector<float>& actual, double tolerance) const {
  CHECK_EQ(actual.size(), x.size());
  // A float32 sum can round an activation to the other neighbour, which is 2^-7 of it. One of 10,000 does, so at most
  // two terms of a sum. Terms of adapters read the activations, too: a neighbour moves a row of down by 2^-7 of its act
  // times B A.
  const int neighbours = adapted ? 4 : 2;
  CHECK_CLOSE(what, actual.data(), x.data(), x.size(), neighbours * 0x1p-7 * largest_term, tolerance);
}

void check_experts_part(const std::string& what, const ExpertsArgs& args, const ExpertsStep& step, int first, int count,
                        const RunExperts& run, const std::vector<float>& of_all) {
  CHECK_BITS(str(what, " tokens ", first, " + ", count), run(step.part(args, first, count)),
             rows_of(of_all, args.hidden, first, count));
}

ExpertsStep adapted_experts_step(const ExpertsArgs& args, int tokens, uint32_t seed) {
  ExpertsStep step = random_experts_step(args, tokens, seed);
  std::vector<std::vector<Term>>& terms = step.adapters.terms;
  terms = {{Term()}, {Term(8, 8, 1, 1)}, {Term()}};
  for (int e = 0; e < args.experts; ++e) {
    terms[0].emplace_back(args.hidden, 2 * args.intermediate, 5, uint32_t(100 + 2 * e));
    terms[1].push_back(e % 2 == 0 ? Term(args.hidden, 2 * args.intermediate, 9, uint32_t(200 + 2 * e)) : Term());
    terms[2].emplace_back();
  }
  for (int e = 0; e < args.experts; ++e) {
    terms[0].emplace_back(args.intermediate, args.hidden, 7, uint32_t(300 + 2 * e));
    terms[1].emplace_back();
    terms[2].push_back(e == 1 ? Term(args.intermediate, args.hidden, 3, 500) : Term());
  }
  for (int t = 0; t < tokens; ++t) step.adapters.of_token.push_back(t % 4 == 2 ? -1 : t % 4 == 3 ? 2 : t % 4);
  return step;
}

void check_experts_terms(const std::string& what, const ExpertsArgs& args, const ExpertsStep& step,
                         const std::vector<float>& adapted, const std::vector<float>& plain) {
  for (int t = 0; t < int(step.adapters.of_token.size()); ++t) {
    bool has_term = false;
    for (const int e : rows_of(step.index, args.top_k, t, 1)) {
      for (const int number : {1 + e, 1 + args.experts + e}) {
        const Term* term = step.adapters.term(t, number);
        has_term = has_term || (term != nullptr && term->rank > 0);
      }
    }
    const std::vector<float> with = rows_of(adapted, args.hidden, t, 1), without = rows_of(plain, args.hidden, t, 1);
    if (!has_term)
      CHECK_BITS(str(what, ", token ", t, " without a term"), with, without);
    else if (with == without)
      fail(__FILE__, __LINE__, str(what, ", token ", t, " lacks its term"));
  }
}

// Token t is zero except for column t, and W1 passes it on: act[t] = swiglu(2, 0) and the rest is 0. So x[t] becomes
// column t of W2 times that.
DownCodes::DownCodes(int experts, int most_scale) : layer(160, 96, experts, 1) {
  const int last = experts - 1, hidden = layer.args.hidden, intermediate = layer.args.intermediate;
  for (int i = 0; i < intermediate; ++i) layer.gate_up.set(last, 2 * i, i, 2, 127);
  for (int r = 0; r < hidden; ++r) {
    for (int c = 0; c < intermediate; ++c)
      layer.down.set(last, r, c, (r + 7 * c + c / 16) % 16, 2 + (r + 83 * (c / 32)) % (most_scale - 1));
  }
  step = unit_step(layer.args, intermediate, 2, last);
}

void DownCodes::check(const std::string& what, int tokens, const RunExperts& run) const {
  const int hidden = layer.args.hidden, all = layer.args.intermediate;
  const float act = rounded(swiglu(layer.args, 2, 0));
  std::vector<float> expected;
  for (int t = 0; t < all; ++t) {
    for (int r = 0; r < hidden; ++r)
      expected.push_back(float(layer.down.value(layer.args.experts - 1, r, t) * act) + 0.0f);
  }
  for (int first = 0; first < all; first += tokens)
    check_experts_part(what, layer.args, step, first, std::min(tokens, all - first), run, expected);
}

GateUpCodes::GateUpCodes(int experts, int first_) : first(first_), layer(96, 160, experts, 1) {
  const int last = experts - 1, hidden = layer.args.hidden, intermediate = layer.args.intermediate;
  for (int r = 0; r < 2 * intermediate; ++r) {
    for (int c = 0; c < hidden; ++c)
      layer.gate_up.set(last, r, c, (r / 2 + 7 * c + c / 16 + r % 2 * 5) % 16, 2 + (r + 53 * (c / 32)) % 127);
  }
  for (int r = 0; r < hidden; ++r) layer.down.set(last, r, first + r, 2, 127);
  step = unit_step(layer.args, hidden, 1, last);
}

std::vector<float> GateUpCodes::check(const std::string& what, int tokens, const RunExperts& run) const {
  const int hidden = layer.args.hidden, last = layer.args.experts - 1;
  std::vector<float> y;
  for (int from = 0; from < hidden; from += tokens) {
    const std::vector<float> some = run(step.part(layer.args, from, std::min(tokens, hidden - from)));
    y.insert(y.end(), some.begin(), some.end());
  }
  for (int t = 0; t < hidden; ++t) {
    for (int r = 0; r < hidden; ++r) {
      const int unit = first + r;
      const double expected =
          swiglu(layer.args, layer.gate_up.value(last, 2 * unit, t), layer.gate_up.value(last, 2 * unit + 1, t));
      const float actual = y.at(size_t(t) * hidden + r);
      // The rounding to bf16, and a small error of float32 before it.
      if (std::fabs(actual - expected) <= 1.001 * 0x1p-8 * std::fabs(expected)) continue;
      fail(__FILE__, __LINE__,
           str(what, " tokens ", tokens, ", token ", t, " unit ", unit, ": expected ", expected, ", got ", actual));
      return y;
    }
  }
  return y;
}

}  // namespace oss::test
