// The dense kernels with weights in Q8. References sum the values code · scale in float64.
#include "kernels/common/q8.h"

#include "test/kernels/gpu/values.h"
#include "test/kernels/metal/support.h"

namespace oss::test {
namespace {

// Codes and scales of [rows, cols], each aligned to no more than kernels need, and between values that spoil any sum.
struct Q8Values {
  int rows, cols;
  std::vector<int8_t> codes;
  std::vector<uint16_t> scales;

  // Scales of all sizes: subnormal ones, and no scale where all codes are zero.
  Q8Values(int of_rows, int of_cols, uint32_t seed) : rows(of_rows), cols(of_cols) {
    std::mt19937 engine(seed);
    for (size_t i = 0; i < size_t(rows) * cols; ++i) codes.push_back(int8_t(int(engine() % 255) - 127));
    for (size_t i = 0; i < codes.size() / kQ8Block; ++i) {
      const uint32_t kind = engine() % 8, fraction = engine() % 1024;
      scales.push_back(uint16_t(kind == 0 ? fraction : (kind + 1) << 10 | fraction));  // up to 2^-6
    }
  }
  double value(size_t row, size_t col) const {
    const size_t at = row * size_t(cols) + col;
    return double(codes[at]) * q8_scale_to_f32(scales[at / kQ8Block]);
  }
};

class Q8Array {
 public:
  static constexpr size_t kShift = 8;  // bytes

  Q8Array(MetalDevice& device, const Q8Values& from)
      : codes_(device, framed(from.codes, kShift, int8_t(127))),
        scales_(device, framed(from.scales, 1, uint16_t(0x7C00))) {}
  metal::Rows rows() const { return {codes_.data() + kShift, scales_.data() + 1}; }

 private:
  template <typename T>
  static std::vector<T> framed(const std::vector<T>& values, size_t before, T with) {
    std::vector<T> out(values.size() + 2 * before, with);
    std::ranges::copy(values, out.begin() + ptrdiff_t(before));
    return out;
  }
  const MetalArray<int8_t> codes_;
  const MetalArray<uint16_t> scales_;
};

struct Problem {
  int rows, in, out;
  bool accumulate = false, biased = true;
  bool paired = false;  // with x_low
};

struct Operands {
  std::vector<float> x, x_low, bias, y;
  Q8Values w;

  explicit Operands(const Problem& p)
      : x(exact_values(size_t(p.rows) * p.in, 1)),
        x_low(exact_values(x.size(), 5, 0x1p-9f)),
        bias(exact_values(p.out, 3)),
        y(exact_values(size_t(p.rows) * p.out, 4)),
        w(p.out, p.in, 2) {}
};

// y [rows + 1, out]; the last row keeps its poison.
std::vector<float> run_linear(MetalDevice& device, const Problem& p, const Operands& operands) {
  const MetalArray<uint16_t> x(device, to_bf16(operands.x)), x_low(device, to_bf16(operands.x_low));
  const Q8Array w(device, operands.w);
  const MetalArray<float> bias(device, operands.bias), y(device, size_t(p.rows + 1) * p.out);
  if (p.accumulate) std::ranges::copy(operands.y, y.data());
  metal::linear(device.encoder, {p.rows, p.in, p.out, p.accumulate, p.paired}, x.data(),
                p.paired ? x_low.data() : nullptr, w.rows(), p.biased ? bias.data() : nullptr, y.data());
  return y.read();
}

void check_linear(MetalDevice& device, const Problem& p) {
  const std::string what =
      str(device.name, ": rows ", p.rows, ", in ", p.in, ", out ", p.out, p.accumulate ? ", accumulate" : "",
          p.biased ? "" : ", no bias", p.paired ? ", paired" : "");
  const Operands operands(p);
  const std::vector<float> actual = run_linear(device, p, operands);
  std::vector<double> expected;
  for (int r = 0; r < p.rows; ++r) {
    for (int o = 0; o < p.out; ++o) {
      double sum = p.accumulate ? operands.y[size_t(r) * p.out + o] : 0;
      if (p.biased) sum += operands.bias[o];
      for (int k = 0; k < p.in; ++k) {
        const size_t at = size_t(r) * p.in + k;
        sum += (double(operands.x[at]) + (p.paired ? operands.x_low[at] : 0)) * operands.w.value(size_t(o), size_t(k));
      }
      expected.push_back(sum);
    }
  }
  // Of thousands of results, the worst can have twice the usual error. Scaling rounds once more for every four columns.
  CHECK_CLOSE(what, actual.data(), expected.data(), expected.size(), 0,
              2 * sum_tolerance(p.in * (p.paired ? 2 : 1) * 5 / 4));
  for (size_t i = expected.size(); i < actual.size(); ++i) {
    if (!is_poison(actual[i])) return fail(__FILE__, __LINE__, str(what, ": wrote past the rows, at ", i));
  }
}

// The step of tokens of one sequence, one after the other on two pages.
struct QkvStep {
  int tokens;
  MetalArray<int32_t> positions, sequence, table;
  MetalArray<float> rope;
  metal::StepArrays arrays;

  static std::vector<int32_t> counted(int count, int32_t from, int32_t by) {
    std::vector<int32_t> out;
    for (int i = 0; i < count; ++i) out.push_back(from + i * by);
    return out;
  }
  static std::vector<float> angles(int count) {
    std::vector<float> out;
    for (int i = 0; i < count * kHeadDim; ++i) {
      const double angle = (60 + i / kHeadDim) * 0.1 * (i % (kHeadDim / 2) + 1);
      out.push_back(float(i % kHeadDim < kHeadDim / 2 ? std::cos(angle) : std::sin(angle)));
    }
    return out;
  }
  QkvStep(MetalDevice& device, int count)
      : tokens(count),
        positions(device, counted(count, 60, 1)),
        sequence(device, counted(count, 0, 0)),
        table(device, {2, 0, 1}),
        rope(device, angles(count)) {
    arrays.tokens = count;
    arrays.sequences = 1;
    arrays.max_pages = 3;
    arrays.positions = positions.data();
    arrays.sequence = sequence.data();
    arrays.block_tables[kKvFull] = table.data();
    arrays.rope = rope.data();
  }
};

struct QkvResult {
  std::vector<uint16_t> q, cache;
  bool operator==(const QkvResult&) const = default;
};

}  // namespace

TEST("metal q8 linear: numbers of rows around every tile") {
  for_each_metal_device([](MetalDevice& device) {
    for (const int rows : {0, 1, 2, 3, 4, 5, 8, 9, 16, 17, 32, 33, 65}) check_linear(device, {rows, 96, 80});
    check_linear(device, {70, 64, 144, true});
  });
}

TEST("metal q8 linear: any number of columns and outputs, with and without bias, assigned and added") {
  for_each_metal_device([](MetalDevice& device) {
    for (const int in : {32, 64, 160}) {
      for (const int out : {1, 5, 64, 131}) {
        const bool accumulate = in / 32 % 2 != 0;
        check_linear(device, {1, in, out, !accumulate, out != 64});
        check_linear(device, {3, in, out, accumulate, out != 64});
        check_linear(device, {8, in, out, !accumulate, out != 5});
        check_linear(device, {19, in, out, accumulate, out != 131});
      }
    }
  });
}

TEST("metal q8 linear: the model's columns, and 16 bits of each value") {
  for_each_metal_device([](MetalDevice& device) {
    check_linear(device, {1, 2880, 32, false, false, true});
    check_linear(device, {1, 4096, 45, true});
    check_linear(device, {9, 4096, 10, true});
    check_linear(device, {18, 2880, 33, false, false, true});
    for (const int rows : {1, 2, 4, 5, 8, 12, 33}) check_linear(device, {rows, 96, 40, rows % 2 != 0, true, true});
  });
}

TEST("metal q8 linear: a row's bits depend on no other row, among few rows and among many") {
  for_each_metal_device([](MetalDevice& device) {
    for (const bool paired : {false, true}) {
      for (const auto& [most, least, in] : {std::tuple(8, 1, 1088), {40, 9, 96}}) {
        const int out = 37;
        const Problem all = {most, in, out, true, true, paired};
        const Operands operands(all);
        const std::vector<float> expected = run_linear(device, all, operands);
        for (int rows = least; rows < most; rows += rows < 8 ? 1 : 7) {
          const int first = (most - rows) / 2;  // at other places in the tiles, too
          Operands part = operands;
          const auto cut = [&](std::vector<float>& from, int width) {
            from = std::vector<float>(from.begin() + first * width, from.begin() + (first + rows) * width);
          };
          cut(part.x, in), cut(part.x_low, in), cut(part.y, out);
          const std::vector<float> actual = run_linear(device, {rows, in, out, true, true, paired}, part);
          if (std::memcmp(actual.data(), expected.data() + first * out, size_t(rows) * out * sizeof(float)) != 0)
            fail(__FILE__, __LINE__, str(device.name, ": ", rows, " rows differ from ", most));
        }
      }
    }
  });
}

TEST("metal q8 embed: exactly code times scale, of tokens given or drawn before") {
  for_each_metal_device([](MetalDevice& device) {
    const int vocab = 11;
    const std::vector<int32_t> given = {10, -1, 3}, ids = {10, 7, 3};
    std::vector<SampleResult> drawn(1);
    drawn[0].token = 7;
    const MetalArray<int32_t> token_ids(device, given);
    const MetalArray<SampleResult> drawn_there(device, drawn);
    for (const int hidden : {32, 2880, 3200}) {
      const Q8Values table(vocab, hidden, 1);
      const Q8Array table_there(device, table);
      metal::StepArrays step;
      step.tokens = int(ids.size());
      step.token_ids = token_ids.data();
      step.drawn = drawn_there.data();
      step.drawn_rows = 1;
      const MetalArray<float> x(device, (ids.size() + 1) * size_t(hidden));
      metal::embed(device.encoder, {step.tokens, hidden}, step, table_there.rows(), vocab, x.data());
      const std::vector<float> actual = x.read();
      for (size_t i = 0; i < actual.size(); ++i) {
        const size_t t = i / size_t(hidden), c = i % size_t(hidden);
        if (t < ids.size() ? actual[i] != table.value(size_t(ids[t]), c) : !is_poison(actual[i]))
          return fail(__FILE__, __LINE__, str(device.name, ": hidden ", hidden, ", element ", i, " is ", actual[i]));
      }
    }
  });
}

// With codes and scales that bf16 holds exactly, the plain kernels have the same weights.
TEST("metal q8 qkv: any of the matrices in Q8, and each token's bits depend on no other token") {
  for_each_metal_device([](MetalDevice& device) {
    const int hidden = 1056, heads = 3, kv_heads = 2;
    std::vector<Q8Values> matrices;
    for (const int of : {heads, kv_heads, kv_heads}) {
      Q8Values& matrix = matrices.emplace_back(of * kHeadDim, hidden, uint32_t(matrices.size() + 1));
      for (uint16_t& scale : matrix.scales) scale = uint16_t((scale & 0x1C00) + (4 << 10));  // powers of two
    }
    const auto run = [&](int tokens, int first, unsigned in_q8) {
      const QkvStep step(device, tokens);
      std::vector<float> x = exact_values(size_t(40) * hidden, 3);
      x = {x.begin() + first * hidden, x.begin() + (first + tokens) * hidden};
      const MetalArray<uint16_t> x_there(device, to_bf16(x));
      std::vector<std::unique_ptr<Q8Array>> q8;
      std::vector<std::unique_ptr<MetalArray<uint16_t>>> bf16;
      std::vector<std::unique_ptr<MetalArray<float>>> bias;
      std::vector<metal::Rows> rows;
      for (size_t m = 0; m < 3; ++m) {
        bias.push_back(
            std::make_unique<MetalArray<float>>(device, exact_values(size_t(matrices[m].rows), uint32_t(m))));
        if ((in_q8 >> m & 1) != 0) {
          q8.push_back(std::make_unique<Q8Array>(device, matrices[m]));
          rows.push_back(q8.back()->rows());
          continue;
        }
        std::vector<uint16_t> values;
        for (size_t i = 0; i < matrices[m].codes.size(); ++i)
          values.push_back(f32_to_bf16(float(matrices[m].value(i / hidden, i % hidden))));
        bf16.push_back(std::make_unique<MetalArray<uint16_t>>(device, values));
        rows.push_back(metal::Rows(bf16.back()->data()));
      }
      const MetalArray<uint16_t> q(device, size_t(tokens) * heads * kHeadDim),
          cache(device, size_t(3) * 2 * kv_heads * kPageTokens * kHeadDim);
      metal::qkv(device.encoder, {tokens, hidden, heads, kv_heads, kHeadDim, kKvFull, kKvBF16}, step.arrays,
                 x_there.data(), {rows[0], rows[1], rows[2], bias[0]->data(), bias[1]->data(), bias[2]->data()},
                 q.data(), {cache.data(), cache.bytes()});
      return QkvResult{q.read(), cache.read()};
    };
    const double tolerance = 0x1p-7;  // a step of bf16, where two sums are rounded to neighbors
    for (const int tokens : {1, 2, 4, 7, 12, 33}) {
      const QkvResult plain = run(tokens, 0, 0);
      for (const unsigned in_q8 : {7u, 1u, 4u, 5u}) {
        const QkvResult mixed = run(tokens, 0, in_q8);
        for (size_t i = 0; i < plain.q.size() + plain.cache.size(); ++i) {
          const bool in_q = i < plain.q.size();
          const uint16_t wanted = in_q ? plain.q[i] : plain.cache[i - plain.q.size()];
          const uint16_t actual = in_q ? mixed.q[i] : mixed.cache[i - plain.q.size()];
          const double value = bf16_to_f32(wanted), error = std::abs(bf16_to_f32(actual) - value);
          // The sums of large products that cancel out have no more digits than those.
          if (wanted != actual && !(error <= tolerance * std::abs(value) + 1e-3))
            return fail(__FILE__, __LINE__,
                        str(device.name, ": ", tokens, " tokens, matrices ", in_q8, ", element ", i, " is ",
                            bf16_to_f32(actual), ", not ", value));
        }
      }
    }
    const QkvResult few = run(8, 0, 7), many = run(40, 0, 7);
    const auto check_first = [&](const QkvResult& all, int tokens) {
      const QkvResult part = run(tokens, 0, 7);
      bool same = std::equal(part.q.begin(), part.q.end(), all.q.begin());
      for (size_t i = 0; i < part.cache.size(); ++i)
        same = same && (is_poison(part.cache[i]) || part.cache[i] == all.cache[i]);
      if (!same) fail(__FILE__, __LINE__, str(device.name, ": ", tokens, " tokens differ"));
    };
    for (const int tokens : {1, 2, 3, 5}) check_first(few, tokens);
    for (const int tokens : {9, 17}) check_first(many, tokens);
  });
}

}  // namespace oss::test
