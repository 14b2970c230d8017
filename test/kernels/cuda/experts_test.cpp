#include <algorithm>
#include <bit>
#include <memory>

#include "kernels/common/args.h"
#include "kernels/common/mxfp4.h"
#include "test/kernels/cuda/low_rank.h"

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
  RawExperts& randomize(uint32_t seed, int least, int most) {
    std::mt19937 random(seed);
    for (uint8_t& byte : blocks) byte = uint8_t(random());
    for (uint8_t& byte : scales) byte = uint8_t(least + int(random() % uint32_t(most - least + 1)));
    bias = bf16_values(bias.size(), seed + 1, 0.5f);
    return *this;
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
    const size_t block = block_of(expert, row, col);
    const int byte = blocks[block * kMxBlockBytes + col % kMxBlock / 2], code = col % 2 == 0 ? byte & 15 : byte >> 4;
    constexpr double kMagnitudes[8] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
    return std::ldexp(code < 8 ? kMagnitudes[code] : -kMagnitudes[code - 8], scales[block] - 127);
  }
  std::vector<double> values() const {  // [experts, rows, cols]
    std::vector<double> out;
    for (int e = 0; e < experts; ++e) {
      for (int r = 0; r < rows; ++r) {
        for (int c = 0; c < cols; ++c) out.push_back(value(e, r, c));
      }
    }
    return out;
  }
};

// The same matrix on a device, packed.
struct DeviceExperts {
  DeviceArray<uint8_t> codes, scales;
  DeviceArray<float> bias;

  DeviceExperts(CudaDevice& device, const RawExperts& raw, cuda::RowOrder order)
      : codes(device, raw.experts * cuda::packed_codes_bytes(raw.rows, raw.cols)),
        scales(device, raw.experts * cuda::packed_scales_bytes(raw.rows, raw.cols)),
        bias(device, raw.bias) {
    const cuda::PackExpertsArgs args = {raw.experts, raw.rows, raw.cols, order};
    const DeviceArray<uint8_t> raw_blocks(device, raw.blocks), raw_scales(device, raw.scales);
    device.check(device.module.pack_expert_codes(args, raw_blocks.data(), codes.data(), device.stream), "pack codes");
    device.check(device.module.pack_expert_scales(args, raw_scales.data(), scales.data(), device.stream),
                 "pack scales");
    device.synchronize();
  }
  cuda::PackedExperts packed() const { return {codes.data(), scales.data(), bias.data()}; }
};

struct Layer {
  ExpertsArgs args;
  RawExperts gate_up, down;

  Layer(int hidden, int intermediate, int experts, int top_k)
      : args{0, hidden, intermediate, experts, top_k, 7.0f, 1.702f},
        gate_up(experts, 2 * intermediate, hidden),
        down(experts, hidden, intermediate) {}
};

struct StepInput {
  std::vector<float> normed;   // [tokens, hidden], exact in bf16
  std::vector<int32_t> index;  // [tokens, top_k]
  std::vector<float> weight;   // [tokens, top_k]
  std::vector<float> x;        // [tokens, hidden]
};

static StepInput random_step(const ExpertsArgs& args, int tokens, uint32_t seed) {
  StepInput step;
  step.normed = bf16_values(size_t(tokens) * args.hidden, seed);
  step.x = bf16_values(size_t(tokens) * args.hidden, seed + 1);
  std::mt19937 random(seed + 2);
  for (int t = 0; t < tokens; ++t) {
    std::vector<int32_t> order(args.experts);
    for (int e = 0; e < args.experts; ++e) order[e] = e;
    std::shuffle(order.begin(), order.end(), random);
    step.index.insert(step.index.end(), order.begin(), order.begin() + args.top_k);
    for (int k = 0; k < args.top_k; ++k) step.weight.push_back(float(1 + random() % 1000) / 2000.0f);
  }
  return step;
}

// The tokens [first, first + count) of a step.
static StepInput tokens_of(const ExpertsArgs& args, const StepInput& step, int first, int count) {
  const auto part = [&](const auto& of, int width) {
    return std::decay_t<decltype(of)>(of.begin() + size_t(first) * width, of.begin() + size_t(first + count) * width);
  };
  return {part(step.normed, args.hidden), part(step.index, args.top_k), part(step.weight, args.top_k),
          part(step.x, args.hidden)};
}

static void check_bits(const std::string& what, const std::vector<float>& actual, const std::vector<float>& expected) {
  CHECK_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    if (std::bit_cast<uint32_t>(actual[i]) == std::bit_cast<uint32_t>(expected[i])) continue;
    return fail(__FILE__, __LINE__,
                str(what, ": first different bit at ", i, ": ", std::hexfloat, actual[i], " and ", expected[i]));
  }
}

// A layer on a device.
class Runner {
 public:
  Runner(CudaDevice& device, const Layer& layer)
      : device_(device),
        args_(layer.args),
        gate_up_(device, layer.gate_up, cuda::kRowsGateUp),
        down_(device, layer.down, cuda::kRowsPlain) {}

  // In a step with room for `capacity` tokens (0: exactly the tokens). Memory past the tokens is not touched.
  std::vector<float> operator()(const StepInput& step, int capacity = 0) { return run(step, nullptr, capacity); }
  std::vector<float> adapted(const StepInput& step, const StepAdapters& adapters, int capacity = 0) {
    return run(step, nullptr, capacity, &adapters);
  }
  // The logits [tokens, experts] make the choice: by router and experts, or by few_experts.
  std::vector<float> routed(const StepInput& step, const std::vector<float>& logits, bool few, int capacity = 0) {
    few_ = few;
    return run(step, &logits, capacity);
  }

 private:
  std::vector<float> run(const StepInput& step, const std::vector<float>* logits, int capacity,
                         const StepAdapters* adapters = nullptr) {
    const int tokens = int(step.x.size()) / args_.hidden;
    ExpertsArgs args = args_;
    args.tokens = std::max(capacity, tokens);
    const auto with_room = [&]<typename T>(const std::vector<T>& of, int width) {
      auto array = std::make_unique<DeviceArray<T>>(device_, size_t(args.tokens) * width);
      array->write(of);
      return array;
    };
    const auto normed = with_room(to_bf16(step.normed), args.hidden);
    const auto index = with_room(step.index, args.top_k);
    const auto weight = with_room(step.weight, args.top_k), x = with_room(step.x, args.hidden);
    const DeviceArray<int32_t> count(device_, std::vector<int32_t>{tokens});
    const DeviceArray<uint8_t> scratch(
        device_, cuda::experts_scratch(args.tokens, args.top_k, args.experts, args.hidden, args.intermediate).bytes);
    const cuda::ExpertsScratch at =
        cuda::experts_scratch(args.tokens, args.top_k, args.experts, args.hidden, args.intermediate);
    device_.check(device_.module.fill(scratch.data() + at.done, 0, at.lists - at.done, device_.stream), "fill");
    const auto device_logits = with_room(logits != nullptr ? *logits : std::vector<float>{}, args.experts);
    if (logits != nullptr && few_) {
      const auto again = with_room(step.x, args.hidden);
      for (float* to : {again->data(), x->data()}) {  // the first launch must restore the counters
        device_.check(device_.module.few_experts(args, count.data(), device_logits->data(), normed->data(),
                                                 gate_up_.packed(), down_.packed(), scratch.data(), to, device_.stream),
                      "few_experts");
      }
      check_bits("the second time", x->read(), again->read());
    } else if (adapters != nullptr) {
      const DeviceAdapters on_device(device_, *adapters, size_t(args.tokens) * args.top_k);
      device_.check(
          device_.module.experts_low_rank(args, on_device.step(), {.gate_up = 1, .down = 1 + args.experts},
                                          count.data(), normed->data(), index->data(), weight->data(),
                                          gate_up_.packed(), down_.packed(), scratch.data(), x->data(), device_.stream),
          "experts_low_rank");
      device_.synchronize();
    } else {
      if (logits != nullptr) {
        device_.check(device_.module.router({args.tokens, args.experts, args.top_k}, count.data(),
                                            device_logits->data(), index->data(), weight->data(), device_.stream),
                      "router");
      }
      device_.check(
          device_.module.experts(args, count.data(), normed->data(), index->data(), weight->data(), gate_up_.packed(),
                                 down_.packed(), scratch.data(), x->data(), device_.stream),
          "experts");
    }
    std::vector<float> out = x->read();
    for (size_t i = size_t(tokens) * args.hidden; i < out.size(); ++i) {
      if (std::bit_cast<uint32_t>(out[i]) != 0xCDCDCDCDu) {
        CHECK_EQ(std::bit_cast<uint32_t>(out[i]), 0xCDCDCDCDu);
        break;
      }
    }
    out.resize(size_t(tokens) * args.hidden);
    return out;
  }

 private:
  CudaDevice& device_;
  ExpertsArgs args_;
  DeviceExperts gate_up_, down_;
  bool few_ = false;
};

static double swiglu(const ExpertsArgs& args, double gate, double up) {
  gate = std::min(gate, double(args.limit));
  up = std::clamp(up, -double(args.limit), double(args.limit));
  return gate / (1 + std::exp(-double(args.alpha) * gate)) * (up + 1);
}

struct Reference {
  std::vector<double> x;
  double largest_term = 0;  // of weight · W2 · act
};
// The result in double. Activations are rounded to bf16 between the products, as in the kernels.
static Reference reference(const Layer& layer, const StepInput& step, const StepAdapters* adapters = nullptr) {
  const int hidden = layer.args.hidden, intermediate = layer.args.intermediate, top_k = layer.args.top_k;
  const std::vector<double> w1 = layer.gate_up.values(), w2 = layer.down.values();
  Reference out{{step.x.begin(), step.x.end()}};
  std::vector<double> sums(2 * intermediate), act(intermediate);
  for (size_t p = 0; p < step.index.size(); ++p) {
    const size_t t = p / top_k, e = size_t(step.index[p]);
    for (int r = 0; r < 2 * intermediate; ++r) {
      const double* w = w1.data() + (e * 2 * intermediate + r) * hidden;
      sums[r] = layer.gate_up.bias[e * 2 * intermediate + r];
      for (int c = 0; c < hidden; ++c) sums[r] += w[c] * step.normed[t * hidden + c];
    }
    if (const Term* term = adapters != nullptr ? adapters->term(int(t), 1 + int(e)) : nullptr)
      term->add(step.normed.data() + t * hidden, sums.data());
    for (int i = 0; i < intermediate; ++i)
      act[i] = bf16_to_f32(f32_to_bf16(float(swiglu(layer.args, sums[2 * i], sums[2 * i + 1]))));
    std::vector<double> added(hidden);
    if (const Term* term = adapters != nullptr ? adapters->term(int(t), 1 + layer.args.experts + int(e)) : nullptr)
      term->add(act.data(), added.data());
    for (int r = 0; r < hidden; ++r) {
      const double* w = w2.data() + (e * hidden + r) * intermediate;
      double total = layer.down.bias[e * hidden + r] + added[r];
      for (int i = 0; i < intermediate; ++i) {
        total += w[i] * act[i];
        out.largest_term = std::max(out.largest_term, std::fabs(step.weight[p] * w[i] * act[i]));
      }
      out.x[t * hidden + r] += step.weight[p] * total;
    }
  }
  return out;
}

TEST("cuda experts: every code with every scale, in every place of the second matrix, exactly") {
  // Token t is zero except for column t, and W1 passes it on: act[t] = swiglu(2, 0) and the rest is 0. So x[t] becomes
  // column t of W2 times that.
  const int hidden = 160, intermediate = 96;
  Layer layer(hidden, intermediate, 1, 1);
  for (int i = 0; i < intermediate; ++i) layer.gate_up.set(0, 2 * i, i, 2, 127);
  for (int r = 0; r < hidden; ++r) {
    for (int c = 0; c < intermediate; ++c)
      layer.down.set(0, r, c, (r + 7 * c + c / 16) % 16, 2 + (r + 53 * (c / 32)) % 127);
  }
  StepInput step;
  step.normed.resize(size_t(intermediate) * hidden);
  for (int t = 0; t < intermediate; ++t) step.normed[size_t(t) * hidden + t] = 2;
  step.index.resize(intermediate, 0);
  step.weight.resize(intermediate, 1);
  step.x.resize(size_t(intermediate) * hidden);
  const float act = bf16_to_f32(f32_to_bf16(float(swiglu(layer.args, 2, 0))));
  std::vector<float> expected;
  for (int t = 0; t < intermediate; ++t) {
    for (int r = 0; r < hidden; ++r) expected.push_back(float(layer.down.value(0, r, t) * act) + 0.0f);
  }
  for_each_cuda_device([&](CudaDevice& device) {
    Runner run(device, layer);
    check_bits(device.name + " together", run(step), expected);
    for (int t = 0; t < intermediate; t += 8) {
      const std::vector<float> eight(expected.begin() + t * hidden, expected.begin() + (t + 8) * hidden);
      check_bits(str(device.name, " from ", t), run(tokens_of(layer.args, step, t, 8)), eight);
    }
  });
}

TEST("cuda experts: every code with every scale, in every place of the first matrix") {
  // W2 passes on the SwiGLU of column t of W1.
  const int hidden = 96, intermediate = 160;
  Layer layer(hidden, intermediate, 1, 1);
  for (int r = 0; r < 2 * intermediate; ++r) {
    for (int c = 0; c < hidden; ++c)
      layer.gate_up.set(0, r, c, (r / 2 + 7 * c + c / 16 + r % 2 * 5) % 16, 2 + (r + 53 * (c / 32)) % 127);
  }
  StepInput step;
  step.normed.resize(size_t(hidden) * hidden);
  for (int t = 0; t < hidden; ++t) step.normed[size_t(t) * hidden + t] = 1;
  step.index.resize(hidden, 0);
  step.weight.resize(hidden, 1);
  step.x.resize(size_t(hidden) * hidden);
  for (const int first : {0, 64}) {  // x has room for this many units
    Layer shown = layer;
    for (int r = 0; r < hidden; ++r) shown.down.set(0, r, first + r, 2, 127);
    for_each_cuda_device([&](CudaDevice& device) {
      Runner run(device, shown);
      const std::vector<float> y = run(step);
      for (int t = 0; t < hidden; t += 8) {
        check_bits(str(device.name, " from ", t), run(tokens_of(layer.args, step, t, 8)),
                   {y.begin() + t * hidden, y.begin() + (t + 8) * hidden});
      }
      for (int t = 0; t < hidden; ++t) {
        for (int r = 0; r < hidden; ++r) {
          const int unit = first + r;
          const double expected =
              swiglu(layer.args, layer.gate_up.value(0, 2 * unit, t), layer.gate_up.value(0, 2 * unit + 1, t));
          // The rounding to bf16, and a small error of float32 before it.
          if (std::fabs(y[size_t(t) * hidden + r] - expected) <= 1.001 * 0x1p-8 * std::fabs(expected)) continue;
          return fail(__FILE__, __LINE__,
                      str(device.name, " token ", t, " unit ", unit, ": expected ", expected, ", got ",
                          y[size_t(t) * hidden + r]));
        }
      }
    });
  }
}

TEST("cuda experts: against a double loop; an expert with no token, one with all of them; room for more tokens") {
  struct Shape {
    int hidden, intermediate, experts, top_k, tokens, capacity;
  };
  for (const Shape s : {Shape{64, 128, 5, 4, 1, 1},
                        {160, 96, 32, 4, 1, 8},
                        {96, 160, 32, 4, 7, 7},
                        {128, 64, 4, 4, 8, 8},
                        {32, 32, 2, 1, 2, 5},
                        {64, 96, 32, 4, 9, 9},
                        {160, 160, 5, 4, 9, 64},
                        {128, 128, 4, 2, 40, 40},
                        {96, 32, 32, 4, 70, 70},
                        {32, 64, 5, 4, 130, 130},
                        {64, 32, 6, 4, 70, 520},
                        {96, 64, 12, 8, 7, 7},
                        {2880, 32, 5, 4, 8, 8},
                        {2880, 32, 2, 1, 9, 9},
                        {32, 32, 4, 4, 0, 3}}) {
    Layer layer(s.hidden, s.intermediate, s.experts, s.top_k);
    layer.gate_up.randomize(11, 118, 124);
    layer.down.randomize(13, 118, 124);
    StepInput step = random_step(layer.args, s.tokens, 17);
    for (const bool crowded : {false, true}) {
      if (crowded) {  // every token chooses the same experts, the last ones first
        for (size_t p = 0; p < step.index.size(); ++p) step.index[p] = s.experts - 1 - int(p) % s.top_k;
      }
      const Reference expected = reference(layer, step);
      for_each_cuda_device([&](CudaDevice& device) {
        const std::vector<float> y = Runner(device, layer)(step, s.capacity);
        // The sums round like sqrt(K) · 2^-22, because tensor cores truncate. A float32 sum can round an activation to
        // the other neighbour, which is 2^-7 of it. One of 10,000 does, so at most two terms of a sum.
        CHECK_CLOSE(str(device.name, " hidden ", s.hidden, " tokens ", s.tokens, crowded ? " crowded" : ""), y.data(),
                    expected.x.data(), y.size(), 2 * 0x1p-7 * expected.largest_term,
                    std::sqrt(double(s.hidden + s.intermediate)) * 0x1p-22);
      });
    }
  }
}

TEST("cuda experts: a token's result is the same in every batch and from every kernel, bit for bit") {
  const int tokens = 75;
  for (const int hidden : {96, 640}) {  // parts without a tile, and with one or two
    Layer layer(hidden, hidden == 96 ? 160 : 64, 5, 4);
    layer.gate_up.randomize(21, 118, 124);
    layer.down.randomize(23, 118, 124);
    const StepInput step = random_step(layer.args, tokens, 27);
    for_each_cuda_device([&](CudaDevice& device) {
      Runner run(device, layer);
      const std::vector<float> together = run(step);
      check_bits(device.name + " again", run(step), together);
      const auto check_part = [&](int first, int count, int capacity) {
        check_bits(str(device.name, " tokens ", first, " + ", count, " of ", capacity),
                   run(tokens_of(layer.args, step, first, count), capacity),
                   {together.begin() + first * hidden, together.begin() + (first + count) * hidden});
      };
      check_part(0, tokens, 600);
      check_part(3, 1, 1);
      check_part(74, 1, 8);
      check_part(74, 1, 9);
      check_part(10, 7, 8);
      check_part(20, 8, 8);
      check_part(20, 8, 40);
      check_part(30, 9, 9);
    });
  }
}

TEST("cuda experts_low_rank: against a double loop; alone and together; tokens without a term keep their bits") {
  struct Shape {
    int hidden, intermediate, experts, top_k, tokens, capacity;
  };
  for (const Shape s :
       {Shape{64, 128, 5, 4, 1, 1}, {96, 160, 32, 4, 7, 9}, {160, 96, 6, 2, 40, 40}, {64, 32, 6, 4, 70, 520}}) {
    Layer layer(s.hidden, s.intermediate, s.experts, s.top_k);
    layer.gate_up.randomize(51, 118, 124);
    layer.down.randomize(53, 118, 124);
    const StepInput step = random_step(layer.args, s.tokens, 57);
    // The first adapter changes all experts, the second gate and up of every other one.
    StepAdapters adapters = {{{Term()}, {Term(8, 8, 1, 1)}}, {}};
    for (int e = 0; e < s.experts; ++e) {
      adapters.terms[0].emplace_back(s.hidden, 2 * s.intermediate, 5, uint32_t(100 + 2 * e));
      adapters.terms[1].push_back(e % 2 == 0 ? Term(s.hidden, 2 * s.intermediate, 9, uint32_t(200 + 2 * e)) : Term());
    }
    for (int e = 0; e < s.experts; ++e) {
      adapters.terms[0].emplace_back(s.intermediate, s.hidden, 7, uint32_t(300 + 2 * e));
      adapters.terms[1].emplace_back();
    }
    for (int t = 0; t < s.tokens; ++t) adapters.of_token.push_back(t % 3 == 2 ? -1 : t % 3);
    const Reference expected = reference(layer, step, &adapters);
    for_each_cuda_device([&](CudaDevice& device) {
      const std::string what = str(device.name, " hidden ", s.hidden, " tokens ", s.tokens);
      Runner run(device, layer);
      const std::vector<float> y = run.adapted(step, adapters, s.capacity), plain = run(step, s.capacity);
      // As above. A term reads the activations, too: a neighbour moves a row of down by 2^-7 of its act times B A.
      CHECK_CLOSE(what, y.data(), expected.x.data(), y.size(), 4 * 0x1p-7 * expected.largest_term,
                  std::sqrt(double(s.hidden + s.intermediate)) * 0x1p-22);
      for (int t = 0; t < s.tokens; t += s.tokens < 10 ? 1 : 7) {
        const auto row = [&](const std::vector<float>& of) {
          return std::vector<float>(of.begin() + ptrdiff_t(t) * s.hidden, of.begin() + ptrdiff_t(t + 1) * s.hidden);
        };
        const StepAdapters own = {adapters.terms, {adapters.of_token[size_t(t)]}};
        check_bits(str(what, ", token ", t, " alone"), run.adapted(tokens_of(layer.args, step, t, 1), own), row(y));
        if (adapters.of_token[size_t(t)] < 0)
          check_bits(str(what, ", token ", t, " without an adapter"), row(y), row(plain));
        else if (adapters.of_token[size_t(t)] == 0)
          CHECK(row(y) != row(plain));
      }
    });
  }
}

struct FewShape {
  int hidden, intermediate, experts, top_k, tokens, capacity;
};
void check_few_experts(const FewShape& s) {
  Layer layer(s.hidden, s.intermediate, s.experts, s.top_k);
  layer.gate_up.randomize(31, 118, 124);
  layer.down.randomize(33, 118, 124);
  const StepInput step = random_step(layer.args, s.tokens, 37);
  for (const bool crowded : {false, true}) {  // every token chooses the same experts
    std::vector<float> logits = bf16_values(size_t(s.tokens) * s.experts, 39);
    for (size_t i = 0; crowded && i < logits.size(); ++i) logits[i] = 0.001f * logits[i] + float(i % size_t(s.experts));
    for_each_cuda_device([&](CudaDevice& device) {
      Runner run(device, layer);
      check_bits(str(device.name, " hidden ", s.hidden, " tokens ", s.tokens, crowded ? " crowded" : ""),
                 run.routed(step, logits, true, s.capacity), run.routed(step, logits, false, s.capacity));
    });
  }
}

TEST("cuda few_experts: bit for bit the results of router and experts") {
  for (const FewShape& s : {FewShape{64, 128, 5, 4, 1, 1},
                            {160, 96, 32, 4, 1, 8},
                            {96, 160, 32, 4, 7, 7},
                            {640, 64, 4, 4, 8, 8},
                            {32, 32, 2, 1, 2, 5},
                            {64, 96, 32, 4, 9, 9},
                            {160, 160, 5, 4, 16, 16},
                            {96, 64, 12, 8, 7, 8},
                            {128, 64, 2, 1, 16, 16},
                            {64, 32, 40, 4, 13, 16},
                            {32, 32, 4, 4, 0, 3}}) {
    check_few_experts(s);
  }
}

TEST("cuda few_experts: rows as long as in the released models, bit for bit, too") {
  for (const FewShape& s : {FewShape{2880, 32, 5, 4, 2, 2}, {32, 2880, 5, 4, 3, 3}, {2848, 32, 4, 4, 1, 1}})
    check_few_experts(s);
}

TEST("cuda experts: refuses shapes that do not fit") {
  for_each_cuda_device([](CudaDevice& device) {
    const cuda::PackExpertsArgs odd = {1, 24, 32, cuda::kRowsPlain}, rope = {1, 64, 32, cuda::kRowsRope};
    CHECK(device.module.pack_expert_codes(odd, nullptr, nullptr, device.stream) != 0);
    CHECK(device.module.pack_expert_scales(rope, nullptr, nullptr, device.stream) != 0);
    const ExpertsArgs wide = {1, 4096, 64, 4, 4, 7.0f, 1.702f};
    CHECK(device.module.experts(wide, nullptr, nullptr, nullptr, nullptr, {}, {}, nullptr, nullptr, device.stream) !=
          0);
    const ExpertsArgs many = {17, 64, 64, 4, 4, 7.0f, 1.702f};
    CHECK(device.module.few_experts(many, nullptr, nullptr, nullptr, {}, {}, nullptr, nullptr, device.stream) != 0);
  });
}

}  // namespace
}  // namespace oss::test
