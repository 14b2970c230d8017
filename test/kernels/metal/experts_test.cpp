#include <algorithm>
#include <limits>
#include <type_traits>

#include "kernels/common/mxfp4.h"
#include "kernels/metal/experts.h"
#include "native/base/error.h"
#include "test/kernels/metal/low_rank.h"

namespace oss::test {
namespace {

// One matrix of every expert as checkpoints hold it, and its values.
struct RawExperts {
  int experts, rows, cols;
  std::vector<uint8_t> blocks, scales;  // [experts, rows, cols / 32, 16] and [experts, rows, cols / 32]
  std::vector<float> bias;              // [experts, rows]

  RawExperts(int experts_, int rows_, int cols_) : experts(experts_), rows(rows_), cols(cols_) {
    const size_t values = size_t(experts) * rows * cols;
    blocks.resize(values / 2);
    scales.resize(values / kMxBlock, 127);
    bias.resize(size_t(experts) * rows);
  }
  // The bytes of scales are in [least, most].
  void randomize(uint32_t seed, int least, int most) {
    blocks = random_bytes(blocks.size(), seed);
    scales = random_bytes(scales.size(), seed + 1, least, most);
    bias = random_floats(bias.size(), seed + 2, 0.5f);
  }
  size_t block_of(int expert, int row, int col) const {
    return (size_t(expert) * rows + row) * (cols / kMxBlock) + col / kMxBlock;
  }
  void set(int expert, int row, int col, int code, int scale) {
    uint8_t& byte = blocks[block_of(expert, row, col) * kMxBlockBytes + col % kMxBlock / 2];
    byte = uint8_t(col % 2 == 0 ? (byte & 0xF0) | code : (byte & 0x0F) | code << 4);
    scales[block_of(expert, row, col)] = uint8_t(scale);
  }
  double value(int expert, int row, int col) const {
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
};

// The same on a device, no better aligned than in a mapped file.
struct DeviceExperts {
  static constexpr int kBlocksFrom = 8, kScalesFrom = 1, kBiasFrom = 2;
  MetalArray<uint8_t> blocks, scales;
  MetalArray<float> bias;

  template <typename T>
  static std::vector<T> shifted(const std::vector<T>& values, int by) {
    std::vector<T> out = values;
    out.insert(out.begin(), size_t(by), T(1));
    return out;
  }
  DeviceExperts(MetalDevice& device, const RawExperts& raw)
      : blocks(device, shifted(raw.blocks, kBlocksFrom)),
        scales(device, shifted(raw.scales, kScalesFrom)),
        bias(device, shifted(raw.bias, kBiasFrom)) {}
  metal::Experts matrix() const {
    return {blocks.data() + kBlocksFrom, scales.data() + kScalesFrom, bias.data() + kBiasFrom};
  }
};

struct Layer {
  ExpertsArgs args;
  RawExperts gate_up, down;

  Layer(int hidden, int intermediate, int experts, int top_k)
      : args{0, hidden, intermediate, experts, top_k, 7.0f, 1.702f},
        gate_up(experts, 2 * intermediate, hidden),
        down(experts, hidden, intermediate) {}
  void randomize(uint32_t seed) {
    gate_up.randomize(seed, 118, 124);
    down.randomize(seed + 3, 118, 124);
  }
};

struct StepInput {
  std::vector<uint16_t> normed;  // [tokens, hidden]
  std::vector<int32_t> index;    // [tokens, top_k]
  std::vector<float> weight;     // [tokens, top_k]
  std::vector<float> x;          // [tokens, hidden]
};

StepInput random_step(const ExpertsArgs& args, int tokens, uint32_t seed) {
  StepInput step;
  step.normed = random_bf16(size_t(tokens) * args.hidden, seed);
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

// Each of these tokens has one column that is not zero, and one expert.
StepInput unit_step(const ExpertsArgs& args, int tokens, float value, int expert) {
  StepInput step;
  step.normed.resize(size_t(tokens) * args.hidden);
  for (int t = 0; t < tokens; ++t) step.normed[size_t(t) * args.hidden + t] = f32_to_bf16(value);
  step.index.resize(size_t(tokens), expert);
  step.weight.resize(size_t(tokens), 1);
  step.x.resize(size_t(tokens) * args.hidden);
  return step;
}

StepInput tokens_of(const ExpertsArgs& args, const StepInput& step, int first, int count) {
  return {rows_of(step.normed, args.hidden, first, count), rows_of(step.index, args.top_k, first, count),
          rows_of(step.weight, args.top_k, first, count), rows_of(step.x, args.hidden, first, count)};
}

// A layer on a device. Nothing past the tokens is written.
class Runner {
 public:
  Runner(MetalDevice& device, const Layer& layer)
      : device_(device), args_(layer.args), gate_up_(device, layer.gate_up), down_(device, layer.down) {}

  std::vector<float> operator()(const StepInput& step, const StepAdapters* adapters = nullptr) {
    ExpertsArgs args = args_;
    args.tokens = int(step.x.size()) / args.hidden;
    constexpr size_t kPast = 64;
    const MetalArray<uint16_t> normed(device_, step.normed);
    const MetalArray<int32_t> index(device_, step.index);
    const MetalArray<float> weight(device_, step.weight), x(device_, step.x.size() + kPast);
    std::ranges::copy(step.x, x.data());
    const size_t bytes =
        metal::experts_scratch_bytes(args.tokens, args.top_k, args.experts, args.hidden, args.intermediate);
    const MetalArray<uint8_t> scratch(device_, bytes);
    std::unique_ptr<MetalStepAdapters> on_device;  // until the work is done
    if (adapters != nullptr) {
      on_device = std::make_unique<MetalStepAdapters>(device_, *adapters, size_t(args.top_k) * kMostLowRank,
                                                      size_t(args.top_k) * 2 * args.intermediate);
      metal::experts_low_rank(device_.encoder, args, on_device->step(), {.gate_up = 1, .down = 1 + args.experts},
                              normed.data(), index.data(), weight.data(), gate_up_.matrix(), down_.matrix(),
                              scratch.data(), x.data());
    } else {
      metal::experts(device_.encoder, args, normed.data(), index.data(), weight.data(), gate_up_.matrix(),
                     down_.matrix(), scratch.data(), x.data());
    }
    std::vector<float> out = x.read();
    for (size_t i = step.x.size(); i < out.size(); ++i) CHECK(std::bit_cast<uint32_t>(out[i]) == 0xCDCDCDCDu);
    out.resize(step.x.size());
    return out;
  }

 private:
  MetalDevice& device_;
  ExpertsArgs args_;
  DeviceExperts gate_up_, down_;
};

double swiglu(const ExpertsArgs& args, double gate, double up) {
  gate = std::min(gate, double(args.limit));
  up = std::clamp(up, -double(args.limit), double(args.limit));
  return gate / (1 + std::exp(-double(args.alpha) * gate)) * (up + 1);
}

struct Reference {
  std::vector<double> x;
  double largest_term = 0;  // of weight · W2 · act
};
// The result in double. Activations are rounded to bf16 between the products, as in the kernels.
Reference reference(const Layer& layer, const StepInput& step, const StepAdapters* adapters = nullptr) {
  const int hidden = layer.args.hidden, intermediate = layer.args.intermediate, top_k = layer.args.top_k;
  Reference out{{step.x.begin(), step.x.end()}};
  std::vector<double> sums(size_t(2) * intermediate), act(size_t(intermediate), 0.0);
  for (size_t p = 0; p < step.index.size(); ++p) {
    const size_t t = p / size_t(top_k);
    const int e = step.index[p];
    for (int r = 0; r < 2 * intermediate; ++r) {
      sums[r] = layer.gate_up.bias[size_t(e) * 2 * intermediate + r];
      for (int c = 0; c < hidden; ++c)
        sums[r] += layer.gate_up.value(e, r, c) * bf16_to_f32(step.normed[t * hidden + c]);
    }
    if (const Term* term = adapters != nullptr ? adapters->term(int(t), 1 + e) : nullptr) {
      std::vector<double> x;
      for (int c = 0; c < hidden; ++c) x.push_back(bf16_to_f32(step.normed[t * hidden + c]));
      term->add(x.data(), sums.data());
    }
    for (int i = 0; i < intermediate; ++i)
      act[i] = bf16_to_f32(f32_to_bf16(float(swiglu(layer.args, sums[2 * i], sums[2 * i + 1]))));
    std::vector<double> added(size_t(hidden), 0.0);
    if (const Term* term = adapters != nullptr ? adapters->term(int(t), 1 + layer.args.experts + e) : nullptr)
      term->add(act.data(), added.data());
    for (int r = 0; r < hidden; ++r) {
      double total = layer.down.bias[size_t(e) * hidden + r] + added[size_t(r)];
      for (int i = 0; i < intermediate; ++i) {
        const double term = layer.down.value(e, r, i) * act[i];
        total += term;
        out.largest_term = std::max(out.largest_term, std::fabs(step.weight[p] * term));
      }
      out.x[t * hidden + r] += step.weight[p] * total;
    }
  }
  return out;
}

}  // namespace

TEST("metal experts: every code with every scale, in every place of the second matrix, exactly") {
  // Token t is zero except for column t, and W1 passes it on: act[t] = swiglu(2, 0) and the rest is 0. So x[t] becomes
  // column t of W2 times that. Scales are those whose products are neither subnormal nor infinite.
  const int hidden = 160, intermediate = 96;
  for (const int tokens : {24, 40, 90, 96}) {
    const int experts = tokens == 96 ? 1 : 4, last = experts - 1;  // tokens / experts chooses the kernel
    Layer layer(hidden, intermediate, experts, 1);
    for (int i = 0; i < intermediate; ++i) layer.gate_up.set(last, 2 * i, i, 2, 127);
    for (int r = 0; r < hidden; ++r) {
      for (int c = 0; c < intermediate; ++c)
        layer.down.set(last, r, c, (r + 7 * c + c / 16) % 16, 2 + (r + 83 * (c / 32)) % 249);
    }
    const StepInput step = unit_step(layer.args, intermediate, 2, last);
    const float act = bf16_to_f32(f32_to_bf16(float(swiglu(layer.args, 2, 0))));
    for_each_metal_device([&](MetalDevice& device) {
      Runner run(device, layer);
      for (int first = 0; first < intermediate; first += tokens) {
        const int count = std::min(tokens, intermediate - first);
        std::vector<float> expected;
        for (int t = first; t < first + count; ++t) {
          for (int r = 0; r < hidden; ++r) expected.push_back(float(layer.down.value(last, r, t) * act) + 0.0f);
        }
        CHECK_BITS(str(device.name, " tokens ", tokens, " from ", first),
                   run(tokens_of(layer.args, step, first, count)), expected);
      }
    });
  }
}

TEST("metal experts: every code with every scale, in every place of the first matrix") {
  // W2 passes on the SwiGLU of column t of W1.
  const int hidden = 96, intermediate = 160;
  for (const int tokens : {24, 40, 90, 96}) {
    const int experts = tokens == 96 ? 1 : 4, last = experts - 1;
    Layer layer(hidden, intermediate, experts, 1);
    for (int r = 0; r < 2 * intermediate; ++r) {
      for (int c = 0; c < hidden; ++c)
        layer.gate_up.set(last, r, c, (r / 2 + 7 * c + c / 16 + r % 2 * 5) % 16, 2 + (r + 53 * (c / 32)) % 127);
    }
    const StepInput step = unit_step(layer.args, hidden, 1, last);
    for (const int first_unit : {0, 64}) {  // x has room for this many units
      Layer shown = layer;
      for (int r = 0; r < hidden; ++r) shown.down.set(last, r, first_unit + r, 2, 127);
      for_each_metal_device([&](MetalDevice& device) {
        Runner run(device, shown);
        for (int first = 0; first < hidden; first += tokens) {
          const int count = std::min(tokens, hidden - first);
          const std::vector<float> y = run(tokens_of(layer.args, step, first, count));
          for (int i = 0; i < count * hidden; ++i) {
            const int t = first + i / hidden, unit = first_unit + i % hidden;
            const double expected =
                swiglu(layer.args, layer.gate_up.value(last, 2 * unit, t), layer.gate_up.value(last, 2 * unit + 1, t));
            // The rounding to bf16, and a small error of float32 before it.
            if (std::fabs(y[i] - expected) <= 1.001 * 0x1p-8 * std::fabs(expected)) continue;
            return fail(__FILE__, __LINE__,
                        str(device.name, " tokens ", tokens, ", token ", t, " unit ", unit, ": expected ", expected,
                            ", got ", y[i]));
          }
        }
      });
    }
  }
}

TEST("metal experts: scales 0, 1 and 255") {
  const int hidden = 64, intermediate = 32;
  for (const int tokens : {8, 40}) {
    Layer layer(hidden, intermediate, 4, 1);
    layer.randomize(81);
    for (int c = 0; c < hidden; ++c) {
      layer.gate_up.set(1, 10, c, c % 8, 255);  // the gate of unit 5 of expert 1
      layer.gate_up.set(2, 21, c, 0, 255);      // the value of unit 10 of expert 2; all codes are 0
      layer.gate_up.set(3, 2, c, 7, c < 32 ? 0 : 1);
    }
    for (int c = 0; c < intermediate; ++c) {
      layer.down.set(0, 7, c, 0, 255);
      layer.down.set(3, 9, c, 7, c % 2);
    }
    StepInput step = random_step(layer.args, tokens, 87);
    for (int t = 0; t < tokens; ++t) step.index[t] = t % 4;
    const Reference expected = reference(layer, step);
    for_each_metal_device([&](MetalDevice& device) {
      const std::vector<float> y = Runner(device, layer)(step);
      for (int t = 0; t < tokens; ++t) {
        for (int r = 0; r < hidden; ++r) {
          const double at = expected.x[size_t(t) * hidden + r];
          CHECK_EQ(std::isnan(y[size_t(t) * hidden + r]), t % 4 == 1 || t % 4 == 2 || (t % 4 == 0 && r == 7));
          CHECK_EQ(std::isnan(y[size_t(t) * hidden + r]), std::isnan(at));
          if (!std::isnan(at)) CHECK(std::fabs(y[size_t(t) * hidden + r] - at) < 1e-3);
        }
      }
    });
  }
}

TEST("metal experts: against a double loop; an expert with no token, one with all of them") {
  struct Shape {
    int hidden, intermediate, experts, top_k, tokens;
  };
  for (const Shape s : {Shape{64, 128, 5, 4, 1},
                        {160, 96, 32, 4, 1},
                        {96, 160, 32, 4, 7},
                        {128, 64, 4, 4, 8},
                        {32, 32, 2, 1, 2},
                        {64, 96, 12, 4, 11},
                        {160, 160, 5, 4, 9},
                        {128, 128, 4, 2, 40},
                        {96, 32, 32, 4, 70},
                        {32, 64, 5, 4, 65},
                        {96, 64, 12, 8, 7},
                        {32, 96, 256, 2, 33},
                        {32, 64, 40, 2, 80},
                        {2880, 32, 2, 1, 33},
                        {64, 2880, 2, 1, 33}}) {
    Layer layer(s.hidden, s.intermediate, s.experts, s.top_k);
    layer.randomize(11);
    StepInput step = random_step(layer.args, s.tokens, 17);
    for (const bool crowded : {false, true}) {
      if (crowded && s.hidden + s.intermediate > 1000) continue;
      if (crowded) {  // every token chooses the same experts, the last ones first
        for (size_t p = 0; p < step.index.size(); ++p) step.index[p] = s.experts - 1 - int(p) % s.top_k;
      }
      const Reference expected = reference(layer, step);
      for_each_metal_device([&](MetalDevice& device) {
        const std::vector<float> y = Runner(device, layer)(step);
        // A float32 sum can round an activation to the other neighbour, which is 2^-7 of it. One of 10,000 does, so at
        // most two terms of a sum.
        CHECK_CLOSE(str(device.name, " hidden ", s.hidden, " tokens ", s.tokens, crowded ? " crowded" : ""), y.data(),
                    expected.x.data(), y.size(), 2 * 0x1p-7 * expected.largest_term,
                    2 * sum_tolerance(s.hidden + s.intermediate));
      });
    }
  }
}

TEST("metal experts: the sizes of the released models") {
  Layer layer(2880, 2880, 1, 1);
  layer.randomize(61);
  const StepInput step = random_step(layer.args, 1, 67);
  const Reference expected = reference(layer, step);
  for_each_metal_device([&](MetalDevice& device) {
    const std::vector<float> y = Runner(device, layer)(step);
    CHECK_CLOSE(device.name, y.data(), expected.x.data(), y.size(), 2 * 0x1p-7 * expected.largest_term,
                2 * sum_tolerance(2 * 2880));
  });
}

TEST("metal experts: with few pairs, a token's result is the same in every batch, bit for bit") {
  const int tokens = 8;
  Layer layer(96, 160, 5, 4);
  layer.randomize(21);
  const StepInput step = random_step(layer.args, tokens, 27);
  for_each_metal_device([&](MetalDevice& device) {
    Runner run(device, layer);
    const std::vector<float> together = run(step);
    CHECK_BITS(device.name + " again", run(step), together);
    for (int first = 0; first < tokens; ++first) {
      for (const int count : {1, 3}) {
        if (first + count > tokens) continue;
        CHECK_BITS(str(device.name, " tokens ", first, " + ", count), run(tokens_of(layer.args, step, first, count)),
                   rows_of(together, layer.args.hidden, first, count));
      }
    }
  });
}

TEST("metal experts: with many pairs, a token's result is the same in every batch and tile, bit for bit") {
  const int tokens = 75;  // of 5 experts: tiles of 64 rows
  Layer layer(96, 160, 5, 4);
  layer.randomize(31);
  const StepInput step = random_step(layer.args, tokens, 37);
  for_each_metal_device([&](MetalDevice& device) {
    Runner run(device, layer);
    const std::vector<float> together = run(step);
    CHECK_BITS(device.name + " again", run(step), together);
    for (const auto& [first, count] : {std::pair{3, 40}, {20, 9}, {64, 11}, {0, 70}}) {  // tiles of 32, 16, 16 and 64
      CHECK_BITS(str(device.name, " tokens ", first, " + ", count), run(tokens_of(layer.args, step, first, count)),
                 rows_of(together, layer.args.hidden, first, count));
    }
  });
}

TEST("metal experts_low_rank: against a double loop; alone and together; tokens without a term keep their bits") {
  struct Shape {
    int hidden, intermediate, experts, top_k, tokens, other;  // other: as many tokens have the same kernels
  };
  // Few pairs, few pairs of many experts, then tiles of 16, 32 and 64 rows.
  for (const Shape s : {Shape{64, 128, 5, 4, 1, 1},
                        {96, 160, 32, 4, 7, 1},
                        {32, 96, 5, 4, 12, 9},
                        {64, 32, 6, 4, 40, 37},
                        {32, 32, 3, 2, 70, 65}}) {
    Layer layer(s.hidden, s.intermediate, s.experts, s.top_k);
    layer.randomize(51);
    const StepInput step = random_step(layer.args, s.tokens, 57);
    // The first adapter changes all experts, the second gate and up of every other one, the third down of one.
    StepAdapters adapters = {{{Term()}, {Term(8, 8, 1, 1)}, {Term()}}, {}};
    for (int e = 0; e < s.experts; ++e) {
      adapters.terms[0].emplace_back(s.hidden, 2 * s.intermediate, 5, uint32_t(100 + 2 * e));
      adapters.terms[1].push_back(e % 2 == 0 ? Term(s.hidden, 2 * s.intermediate, 9, uint32_t(200 + 2 * e)) : Term());
      adapters.terms[2].emplace_back();
    }
    for (int e = 0; e < s.experts; ++e) {
      adapters.terms[0].emplace_back(s.intermediate, s.hidden, 7, uint32_t(300 + 2 * e));
      adapters.terms[1].emplace_back();
      adapters.terms[2].push_back(e == 1 ? Term(s.intermediate, s.hidden, 3, 500) : Term());
    }
    for (int t = 0; t < s.tokens; ++t) adapters.of_token.push_back(t % 4 == 2 ? -1 : t % 4 == 3 ? 2 : t % 4);
    const Reference expected = reference(layer, step, &adapters);
    for_each_metal_device([&](MetalDevice& device) {
      const std::string what = str(device.name, " hidden ", s.hidden, " tokens ", s.tokens);
      Runner run(device, layer);
      const std::vector<float> y = run(step, &adapters), plain = run(step);
      // As above. A term reads the activations, too: a neighbour moves a row of down by 2^-7 of its act times B A.
      CHECK_CLOSE(what, y.data(), expected.x.data(), y.size(), 4 * 0x1p-7 * expected.largest_term,
                  2 * sum_tolerance(s.hidden + s.intermediate));
      CHECK_BITS(what + " again", run(step, &adapters), y);
      for (int first = 0; first + s.other <= s.tokens; first += s.other == 1 ? 1 : 3) {
        StepAdapters own = {adapters.terms, {}};
        for (int t = first; t < first + s.other; ++t) own.of_token.push_back(adapters.of_token[size_t(t)]);
        CHECK_BITS(str(what, ", tokens ", first, " + ", s.other),
                   run(tokens_of(layer.args, step, first, s.other), &own), rows_of(y, s.hidden, first, s.other));
      }
      for (int t = 0; t < s.tokens; ++t) {
        const auto row = [&](const std::vector<float>& of) { return rows_of(of, s.hidden, t, 1); };
        const int adapter = adapters.of_token[size_t(t)];
        if (adapter < 0) CHECK_BITS(str(what, ", token ", t, " without an adapter"), row(y), row(plain));
        if (adapter == 0) CHECK(row(y) != row(plain));
        const auto chosen = rows_of(step.index, s.top_k, t, 1);
        if (adapter == 2) CHECK_EQ(row(y) != row(plain), std::ranges::find(chosen, 1) != chosen.end());
      }
    });
  }
}

TEST("metal experts_low_rank: no barrier can be left out") {
  Layer layer(32, 32, 5, 4);
  layer.randomize(41);
  std::vector<Term> terms = {Term()};
  for (int e = 0; e < 5; ++e) terms.emplace_back(32, 64, 3, uint32_t(100 + 2 * e));
  for (int e = 0; e < 5; ++e) terms.emplace_back(32, 32, 3, uint32_t(200 + 2 * e));
  for (const int tokens : {4, 9}) {
    const StepAdapters adapters = {{terms}, std::vector<int>(size_t(tokens), 0)};
    for_each_metal_device([&](MetalDevice& device) {
      Runner run(device, layer);
      const StepInput step = random_step(layer.args, tokens, 43);
      run(step, &adapters);
      const int64_t barriers = device.encoder.barriers();
      CHECK_EQ(barriers, int64_t(tokens == 4 ? 4 : 5));
      for (int missing = 1; missing <= barriers; ++missing) {
        if (!drop_metal_barrier(missing)) return;
        CHECK_THROWS(Code::kDevice, "the GPU failed", run(step, &adapters));  // or it reads a list that is not there
      }
    });
  }
}

TEST("metal experts: dispatches, barriers and scratch memory") {
  Layer layer(32, 32, 5, 4);
  layer.randomize(41);
  for_each_metal_device([&](MetalDevice& device) {
    Runner run(device, layer);
    int64_t dispatches = 0, barriers = 0;
    const auto count = [&](int tokens) {
      run(random_step(layer.args, tokens, 43));
      const std::pair added = {device.encoder.dispatches() - dispatches, device.encoder.barriers() - barriers};
      dispatches += added.first;
      barriers += added.second;
      return added;
    };
    CHECK(count(0) == std::pair(int64_t(0), int64_t(0)));
    CHECK(count(8) == std::pair(int64_t(2), int64_t(1)));
    CHECK(count(9) == std::pair(int64_t(4), int64_t(3)));
  });
  size_t before = 0;  // memory for many tokens suffices for fewer
  for (int tokens = 1; tokens < 100; ++tokens) {
    const size_t bytes = metal::experts_scratch_bytes(tokens, 4, 32, 2880, 2880);
    CHECK(bytes >= before);
    before = bytes;
  }
}

}  // namespace oss::test
