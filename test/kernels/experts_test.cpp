#include "kernels/common/mxfp4.h"
#include "test/kernels/support.h"

namespace oss::test {

// Random experts, with a double-precision reference of the whole block.
struct Experts {
  ExpertsArgs args;
  std::vector<uint8_t> up_blocks, up_scales, down_blocks, down_scales;
  std::vector<float> up_bias, down_bias;

  Experts(int hidden, int intermediate, int experts, int top_k)
      : args{0, hidden, intermediate, experts, top_k, 7.0f, 1.702f} {
    const size_t up = size_t(experts) * 2 * intermediate * hidden, down = size_t(experts) * hidden * intermediate;
    up_blocks = random_bytes(up / 2, 21);
    up_scales = random_bytes(up / 32, 22, 118, 124);
    down_blocks = random_bytes(down / 2, 23);
    down_scales = random_bytes(down / 32, 24, 118, 124);
    up_bias = random_floats(size_t(experts) * 2 * intermediate, 25);
    down_bias = random_floats(size_t(experts) * hidden, 26);
  }
  ExpertMatrix gate_up() const {
    return {up_blocks.data(), up_scales.data(), up_bias.data(), args.experts, 2 * args.intermediate, args.hidden};
  }
  ExpertMatrix down() const {
    return {down_blocks.data(), down_scales.data(), down_bias.data(), args.experts, args.hidden, args.intermediate};
  }
  static double dot(const ExpertMatrix& m, int expert, int row, const std::vector<double>& x) {
    const float magnitudes[8] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
    double total = m.bias[size_t(expert) * m.rows + row];
    for (int c = 0; c < m.cols; ++c) {
      const size_t block = (size_t(expert) * m.rows + row) * (m.cols / 32) + c / 32;
      const int byte = m.blocks[block * 16 + c % 32 / 2], code = c % 2 == 0 ? byte & 15 : byte >> 4;
      total += std::ldexp(code < 8 ? magnitudes[code] : -magnitudes[code - 8], m.scales[block] - 127) * x[c];
    }
    return total;
  }
  // Adds scale · B (A x) of a term.
  static void add_term(const LowRank& term, const std::vector<double>& x, std::vector<double>& y) {
    for (int k = 0; k < term.a.rows; ++k) {
      double t = 0;
      for (int i = 0; i < term.a.cols; ++i) t += x[i] * bf16_to_f32(term.a.data[size_t(k) * term.a.cols + i]);
      for (int r = 0; r < term.b.rows; ++r)
        y[r] += t * term.scale * bf16_to_f32(term.b.data[size_t(r) * term.b.cols + k]);
    }
  }
  std::vector<double> expected(const std::vector<float>& normed, const std::vector<int32_t>& index,
                               const std::vector<float>& weight, const std::vector<float>& x,
                               AdapterRows adapters = {}) const {
    std::vector<double> out(x.begin(), x.end());
    for (size_t p = 0; p < index.size(); ++p) {
      const size_t t = p / args.top_k;
      const std::vector<double> row(normed.begin() + t * args.hidden, normed.begin() + (t + 1) * args.hidden);
      const LayerAdapter* adapter = adapters.empty() ? nullptr : adapters[t];
      std::vector<double> both, act, result;
      for (int i = 0; i < 2 * args.intermediate; ++i) both.push_back(dot(gate_up(), index[p], i, row));
      if (adapter != nullptr && !adapter->gate_up.empty()) add_term(adapter->gate_up[index[p]], row, both);
      for (int i = 0; i < args.intermediate; ++i) {
        const double gate = std::min(both[2 * i], double(args.limit));
        const double up = std::clamp(both[2 * i + 1], -double(args.limit), double(args.limit));
        act.push_back(gate / (1 + std::exp(-double(args.alpha) * gate)) * (up + 1));
      }
      for (int r = 0; r < args.hidden; ++r) result.push_back(dot(down(), index[p], r, act));
      if (adapter != nullptr && !adapter->down.empty()) add_term(adapter->down[index[p]], act, result);
      for (int r = 0; r < args.hidden; ++r) out[t * args.hidden + r] += weight[p] * result[r];
    }
    return out;
  }
  std::vector<float> run(CpuBackend& backend, const std::vector<float>& normed, const std::vector<int32_t>& index,
                         const std::vector<float>& weight, std::vector<float> x, AdapterRows adapters = {}) const {
    ExpertsArgs step = args;
    step.tokens = int(index.size()) / args.top_k;
    backend.experts(step, operand(normed.data()), index.data(), weight.data(), gate_up(), down(), adapters, x.data());
    return x;
  }
};

static std::vector<int32_t> random_index(int tokens, int experts, int top_k, uint32_t seed) {
  std::mt19937 engine(seed);
  std::vector<int32_t> index;
  for (int t = 0; t < tokens; ++t) {
    std::vector<int32_t> order(experts);
    for (int e = 0; e < experts; ++e) order[e] = e;
    std::shuffle(order.begin(), order.end(), engine);
    index.insert(index.end(), order.begin(), order.begin() + top_k);
  }
  return index;
}

TEST("experts: against a double loop; an expert with no token, one with all of them") {
  struct Shape {
    int hidden, intermediate, experts, top_k, tokens;
  };
  for (const Shape s : {Shape{64, 128, 5, 4, 7}, {96, 96, 8, 4, 3}, {160, 96, 32, 4, 1}, {32, 32, 2, 1, 9}}) {
    const Experts experts(s.hidden, s.intermediate, s.experts, s.top_k);
    const std::vector<float> normed = random_floats(size_t(s.tokens) * s.hidden, 31, 2),
                             x = random_floats(size_t(s.tokens) * s.hidden, 32);
    const std::vector<float> weight = random_floats(size_t(s.tokens) * s.top_k, 33);
    std::vector<int32_t> index = random_index(s.tokens, s.experts, s.top_k, 34);
    for (const bool crowded : {false, true}) {
      if (crowded) {  // every token chooses the same experts, the last ones first
        for (size_t p = 0; p < index.size(); ++p) index[p] = s.experts - 1 - int(p) % s.top_k;
      }
      const std::vector<double> expected = experts.expected(normed, index, weight, x);
      std::vector<float> fastest;
      for (const cpu::Kernels* kernels : cpu::available_kernels()) {
        CpuBackend backend(*kernels, 2);
        const std::vector<float> y = experts.run(backend, normed, index, weight, x);
        const std::string what =
            str(kernels->isa, " hidden ", s.hidden, " tokens ", s.tokens, crowded ? " crowded" : "");
        // Two matrices one after the other.
        CHECK_CLOSE(what, y.data(), expected.data(), y.size(), 0, 2 * sum_tolerance(s.hidden + s.intermediate));
        if (fastest.empty()) fastest = y;
        if (fused(*kernels)) CHECK_BITS(what + " and the fastest", y, fastest);
      }
    }
  }
}

TEST("experts: a batch equals its tokens one by one, on 1, 2 and 3 threads, and after a larger batch") {
  const int tokens = 19, top_k = 4;
  const Experts experts(96, 160, 6, top_k);
  const std::vector<float> normed = random_floats(tokens * 96, 41, 2), x = random_floats(tokens * 96, 42);
  const std::vector<float> weight = random_floats(tokens * top_k, 43);
  const std::vector<int32_t> index = random_index(tokens, 6, top_k, 44);
  for (const cpu::Kernels* kernels : cpu::available_kernels()) {
    std::vector<float> batch;
    for (const int threads : {1, 2, 3}) {
      CpuBackend backend(*kernels, threads);
      const std::vector<float> y = experts.run(backend, normed, index, weight, x);
      if (batch.empty()) batch = y;
      CHECK_BITS(str(kernels->isa, " threads ", threads), y, batch);
      std::vector<float> single;
      for (int t = 0; t < tokens; ++t) {
        const auto part = [&](const auto& of, int width) {
          return std::decay_t<decltype(of)>(of.begin() + t * width, of.begin() + (t + 1) * width);
        };
        const std::vector<float> one =
            experts.run(backend, part(normed, 96), part(index, top_k), part(weight, top_k), part(x, 96));
        single.insert(single.end(), one.begin(), one.end());
      }
      CHECK_BITS(str(kernels->isa, " one by one, threads ", threads), single, batch);
    }
  }
}

// Random terms of the experts: of all, or of those with an even number.
struct ExpertTerms {
  std::vector<std::vector<uint16_t>> factors;
  LayerAdapter adapter;

  ExpertTerms(const ExpertsArgs& args, int rank, bool all, uint32_t seed) {
    const auto matrix = [&](int rows, int cols) {
      factors.push_back(random_bf16(size_t(rows) * cols, seed++, 0.5f));
      return Matrix{factors.back().data(), rows, cols};
    };
    const auto term = [&](int expert, int in, int out) {
      if (!all && expert % 2 == 1) return LowRank{};
      const Matrix a = matrix(rank, in), b = matrix(out, rank);
      return LowRank{a, b, 0.5f};
    };
    for (int e = 0; e < args.experts; ++e) {
      adapter.gate_up.push_back(term(e, args.hidden, 2 * args.intermediate));
      if (all) adapter.down.push_back(term(e, args.intermediate, args.hidden));
    }
  }
};

TEST("experts: low-rank terms of some tokens, against a double loop; other tokens keep their bits") {
  const int tokens = 23, top_k = 4;
  const Experts experts(96, 160, 6, top_k);
  const std::vector<float> normed = random_floats(tokens * 96, 41, 2), x = random_floats(tokens * 96, 42);
  const std::vector<float> weight = random_floats(tokens * top_k, 43);
  const std::vector<int32_t> index = random_index(tokens, 6, top_k, 44);
  const ExpertTerms all(experts.args, 5, true, 100), some(experts.args, 3, false, 200);
  std::vector<const LayerAdapter*> adapters;
  for (int t = 0; t < tokens; ++t) {
    adapters.push_back(t % 3 == 0 ? nullptr : t % 3 == 1 ? &all.adapter : &some.adapter);
  }
  const std::vector<double> expected = experts.expected(normed, index, weight, x, adapters);
  for (const cpu::Kernels* kernels : cpu::available_kernels()) {
    for (const int threads : {1, 3}) {
      CpuBackend backend(*kernels, threads);
      const std::vector<float> plain = experts.run(backend, normed, index, weight, x);
      const std::vector<float> y = experts.run(backend, normed, index, weight, x, adapters);
      CHECK_CLOSE(kernels->isa, y.data(), expected.data(), y.size(), 0, 4 * sum_tolerance(160 + 5));
      CHECK_BITS(str(kernels->isa, " afterwards"), experts.run(backend, normed, index, weight, x), plain);
      for (int t = 0; t < tokens; ++t) {
        const auto part = [&](const auto& of, int width) {
          return std::decay_t<decltype(of)>(of.begin() + t * width, of.begin() + (t + 1) * width);
        };
        if (adapters[t] == nullptr) {
          CHECK_BITS(str(kernels->isa, " token ", t), part(y, 96), part(plain, 96));
          continue;
        }
        const std::vector<float> alone = experts.run(backend, part(normed, 96), part(index, top_k), part(weight, top_k),
                                                     part(x, 96), {&adapters[t], 1});
        CHECK_BITS(str(kernels->isa, " token ", t, " alone"), part(y, 96), alone);
      }
    }
  }
}

}  // namespace oss::test
