// Experts in bf16, on every instruction set and unit of this machine, with exact and with fast numerics. The reference
// rounds the activations as the unit does, and sums in float64.
#include "test/kernels/support.h"

namespace oss::test {
namespace {

struct Problem {
  ExpertsArgs args;
  std::vector<uint16_t> up, down;
  std::vector<float> up_bias, down_bias, normed, weight, x;
  std::vector<int32_t> index;

  explicit Problem(ExpertsArgs shape, bool crowded = false)
      : args(shape),
        up(random_bf16(size_t(args.experts) * 2 * args.intermediate * args.hidden, 1, 0.1f)),
        down(random_bf16(size_t(args.experts) * args.hidden * args.intermediate, 2, 0.1f)),
        up_bias(random_floats(size_t(args.experts) * 2 * args.intermediate, 3)),
        down_bias(random_floats(size_t(args.experts) * args.hidden, 4)),
        normed(random_floats(size_t(args.tokens) * args.hidden, 5, 2)),
        weight(random_floats(size_t(args.tokens) * args.top_k, 6)),
        x(random_floats(size_t(args.tokens) * args.hidden, 7)) {
    std::mt19937 engine(8);
    for (int t = 0; t < args.tokens; ++t) {  // distinct experts; crowded: the same ones, the last first
      const int first = crowded ? args.experts - args.top_k : int(engine() % uint32_t(args.experts));
      for (int k = args.top_k; k-- > 0;) index.push_back((first + k) % args.experts);
    }
  }

  static double dot(const std::vector<uint16_t>& w, size_t row, const std::vector<double>& in) {
    double sum = 0;
    for (size_t k = 0; k < in.size(); ++k) sum += double(bf16_to_f32(w[row * in.size() + k])) * in[k];
    return sum;
  }
  // Adds scale · B (A in) of a term.
  static void add_term(const LowRank& term, const std::vector<double>& in, std::vector<double>& out) {
    for (int k = 0; k < term.a.rows; ++k) {
      double t = 0;
      for (int i = 0; i < term.a.cols; ++i) t += in[size_t(i)] * bf16_to_f32(term.a.data[k * term.a.cols + i]);
      for (int r = 0; r < term.b.rows; ++r)
        out[size_t(r)] += t * term.scale * bf16_to_f32(term.b.data[r * term.b.cols + k]);
    }
  }
  // `rounds`: products read activations as bf16; low-rank terms do not. `scale`: the size of the summed terms.
  std::vector<double> expected(bool rounds, AdapterRows adapters, double& scale) const {
    const auto read = [&](std::vector<double> values) {
      for (double& value : values) value = rounds ? bf16_to_f32(f32_to_bf16(float(value))) : value;
      return values;
    };
    const size_t hidden = size_t(args.hidden), inner = size_t(args.intermediate);
    std::vector<double> out(x.begin(), x.end());
    for (size_t p = 0; p < index.size(); ++p) {
      const size_t t = p / size_t(args.top_k), e = size_t(index[p]);
      const LayerAdapter* adapter = adapters.empty() ? nullptr : adapters[t];
      const std::vector<double> in(normed.begin() + ptrdiff_t(t * hidden),
                                   normed.begin() + ptrdiff_t((t + 1) * hidden));
      std::vector<double> both, act, result;
      const std::vector<double> rounded_in = read(in);
      for (size_t r = 0; r < 2 * inner; ++r)
        both.push_back(dot(up, e * 2 * inner + r, rounded_in) + up_bias[e * 2 * inner + r]);
      if (adapter != nullptr && !adapter->gate_up.empty()) add_term(adapter->gate_up[e], in, both);
      for (size_t i = 0; i < inner; ++i) {
        const double gate = std::min(both[2 * i], double(args.limit));
        const double linear = std::clamp(both[2 * i + 1], -double(args.limit), double(args.limit));
        act.push_back(gate / (1 + std::exp(-double(args.alpha) * gate)) * (linear + 1));
      }
      const std::vector<double> rounded_act = read(act);
      for (size_t r = 0; r < hidden; ++r)
        result.push_back(dot(down, e * hidden + r, rounded_act) + down_bias[e * hidden + r]);
      if (adapter != nullptr && !adapter->down.empty()) add_term(adapter->down[e], act, result);
      for (size_t r = 0; r < hidden; ++r) {
        out[t * hidden + r] += weight[p] * result[r];
        scale = std::max(scale, std::abs(weight[p] * result[r]));
      }
    }
    return out;
  }

  // Tokens [first, first + tokens).
  std::vector<float> run(CpuBackend& backend, int first, int tokens, AdapterRows adapters = {}) const {
    ExpertsArgs part = args;
    part.tokens = tokens;
    const int experts = args.experts, hidden = args.hidden, inner = args.intermediate;
    const auto pack = [&](const std::vector<uint16_t>& w, const std::vector<float>& bias, int rows, int cols) {
      return backend.packer().pack_bf16_experts(tensor_of("w", DType::kBF16, {experts, rows, cols}, w.data()),
                                                tensor_of("bias", DType::kF32, {experts, rows}, bias.data()));
    };
    std::vector<float> y(x.begin() + ptrdiff_t(first) * hidden, x.begin() + ptrdiff_t(first + tokens) * hidden);
    const size_t pair = size_t(first) * size_t(args.top_k);
    backend.experts(part, operand(normed.data() + size_t(first) * size_t(hidden)), index.data() + pair,
                    weight.data() + pair, pack(up, up_bias, 2 * inner, hidden), pack(down, down_bias, hidden, inner),
                    adapters.empty() ? adapters : adapters.subspan(size_t(first), size_t(tokens)), y.data());
    return y;
  }
};

// Random terms of the experts: of all, or of gate and up of those with an even number.
struct Terms {
  std::vector<std::vector<uint16_t>> factors;
  LayerAdapter adapter;

  Terms(const ExpertsArgs& args, int rank, bool all, uint32_t seed) {
    const auto matrix = [&](int rows, int cols) {
      factors.push_back(random_bf16(size_t(rows) * size_t(cols), seed++, 0.3f));
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

// The numerics "exact" of every instruction set, and "fast" of every unit, as choose_kernels() makes them.
template <typename Body>
void for_each_numerics(const Body& body) {
  for (const cpu::Kernels* kernels : cpu::available_kernels())
    body(*kernels, static_cast<const cpu::Bf16Kernels*>(nullptr));
  for (const cpu::Bf16Kernels* bf16 : cpu::available_bf16_kernels()) body(*cpu::available_kernels().front(), bf16);
}

// Exact: rounding of float32 sums of two matrices. Fast: an activation that float32 and float64 round to different
// neighbours is off by 2^-8 of its value; few are.
void expect_close(const std::string& what, const Problem& problem, bool fast, const std::vector<float>& y,
                  AdapterRows adapters) {
  double scale = 0;
  const std::vector<double> expected = problem.expected(fast, adapters, scale);
  const double exact = 4 * sum_tolerance(problem.args.hidden + problem.args.intermediate);
  CHECK_CLOSE(what, y.data(), expected.data(), y.size(), fast ? 0x1p-8 * scale : 0, fast ? 0 : exact);
  double squares = 0, sizes = 0;
  for (size_t i = 0; i < y.size(); ++i) {
    squares += (y[i] - expected[i]) * (y[i] - expected[i]);
    sizes += expected[i] * expected[i];
  }
  CHECK(std::sqrt(squares / sizes) < (fast ? 2e-4 : 1e-6));
}

std::string name_of(const cpu::Kernels& kernels, const cpu::Bf16Kernels* bf16) {
  return bf16 != nullptr ? bf16->isa : kernels.isa;
}

}  // namespace

TEST("experts in bf16: against a double loop; an expert with no token, one with all of them, more rows than a range") {
  for_each_numerics([](const cpu::Kernels& kernels, const cpu::Bf16Kernels* bf16) {
    for (const ExpertsArgs& args : {ExpertsArgs{7, 64, 128, 5, 4, 7.0f, 1.702f},
                                    {3, 96, 96, 8, 4, 7.0f, 1.702f},
                                    {1, 160, 96, 32, 4, 7.0f, 1.702f},
                                    {90, 32, 32, 2, 1, 7.0f, 1.702f},
                                    {20, 352, 224, 2, 2, 7.0f, 1.702f}}) {
      for (const bool crowded : {false, true}) {
        const Problem problem(args, crowded);
        CpuBackend backend(kernels, 2, bf16, DenseWeights::kBF16, "", ExpertWeights::kBF16);
        expect_close(str(name_of(kernels, bf16), " hidden ", args.hidden, " tokens ", args.tokens), problem,
                     bf16 != nullptr, problem.run(backend, 0, args.tokens), {});
      }
    }
  });
}

TEST("experts in bf16: each token of a batch, on any number of threads, has the same bits as alone") {
  for_each_numerics([](const cpu::Kernels& kernels, const cpu::Bf16Kernels* bf16) {
    const Problem problem({150, 160, 96, 6, 3, 7.0f, 1.702f});
    CpuBackend one(kernels, 1, bf16), three(kernels, 3, bf16);
    const std::vector<float> batch = problem.run(one, 0, 150);
    CHECK_BITS(name_of(kernels, bf16) + " threads", problem.run(three, 0, 150), batch);
    for (const int n : {1, 9, 17, 70}) {
      for (const int t : {0, 31, 80}) {
        const auto begin = batch.begin() + ptrdiff_t(t) * 160;
        CHECK_BITS(str(name_of(kernels, bf16), " tokens ", t, " to ", t + n), problem.run(three, t, n),
                   std::vector<float>(begin, begin + ptrdiff_t(n) * 160));
      }
    }
  });
}

TEST("experts in bf16: the instruction sets with fused multiply-add agree in every bit") {
  const Problem problem({19, 96, 160, 6, 4, 7.0f, 1.702f});
  std::vector<float> fastest;
  for (const cpu::Kernels* kernels : cpu::available_kernels()) {
    if (!fused(*kernels)) continue;
    CpuBackend backend(*kernels, 2);
    const std::vector<float> y = problem.run(backend, 0, 19);
    if (fastest.empty()) fastest = y;
    CHECK_BITS(kernels->isa, y, fastest);
  }
}

TEST("experts in bf16: low-rank terms of some tokens, against a double loop; other tokens keep their bits") {
  const int tokens = 43;
  const Problem problem({tokens, 96, 160, 6, 4, 7.0f, 1.702f});
  const Terms all(problem.args, 5, true, 100), some(problem.args, 3, false, 200);
  std::vector<const LayerAdapter*> adapters;
  for (int t = 0; t < tokens; ++t) {
    adapters.push_back(t % 3 == 0 ? nullptr : t % 3 == 1 ? &all.adapter : &some.adapter);
  }
  for_each_numerics([&](const cpu::Kernels& kernels, const cpu::Bf16Kernels* bf16) {
    const std::string what = name_of(kernels, bf16);
    CpuBackend backend(kernels, 3, bf16);
    const std::vector<float> plain = problem.run(backend, 0, tokens), y = problem.run(backend, 0, tokens, adapters);
    expect_close(what + " with terms", problem, bf16 != nullptr, y, adapters);
    CHECK_BITS(what + " afterwards", problem.run(backend, 0, tokens), plain);
    for (int t = 0; t < tokens; ++t) {
      const auto row = [&](const std::vector<float>& of) {
        return std::vector<float>(of.begin() + ptrdiff_t(t) * 96, of.begin() + ptrdiff_t(t + 1) * 96);
      };
      if (adapters[size_t(t)] == nullptr) {
        CHECK_BITS(str(what, " token ", t), row(y), row(plain));
      } else {
        CHECK_BITS(str(what, " token ", t, " alone"), problem.run(backend, t, 1, adapters), row(y));
      }
    }
  });
}

TEST("experts in bf16: weights at an odd multiple of two bytes") {
  for_each_numerics([](const cpu::Kernels& kernels, const cpu::Bf16Kernels* bf16) {
    const Problem problem({5, 64, 96, 3, 2, 7.0f, 1.702f});
    CpuBackend backend(kernels, 1, bf16);
    const auto shifted = [&](const std::vector<uint16_t>& w, const std::vector<float>& bias, int rows, int cols,
                             std::vector<uint16_t>& room) {
      room.assign(1, 0);
      room.insert(room.end(), w.begin(), w.end());
      return ExpertMatrix{.bias = bias.data(), .experts = 3, .rows = rows, .cols = cols, .bf16 = room.data() + 1};
    };
    std::vector<uint16_t> up, down;
    std::vector<float> y = problem.x;
    backend.experts(problem.args, operand(problem.normed.data()), problem.index.data(), problem.weight.data(),
                    shifted(problem.up, problem.up_bias, 192, 64, up),
                    shifted(problem.down, problem.down_bias, 64, 96, down), {}, y.data());
    CHECK_BITS(name_of(kernels, bf16), y, problem.run(backend, 0, 5));
  });
}

}  // namespace oss::test
