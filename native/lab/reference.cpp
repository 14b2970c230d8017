#include "native/lab/reference.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>

#include "kernels/common/dtype.h"
#include "kernels/common/mxfp4.h"
#include "native/base/error.h"
#include "native/base/str.h"
#include "native/lab/on_device.h"
#include "native/model/rope.h"

namespace oss::lab {
namespace {

// Rounding to nearest: of float32, and of bf16.
constexpr double kF32 = 0x1p-24, kBf16 = 0x1p-8;
// Products and sums that one comparison may take: a second.
constexpr double kMostWork = 1e9;

class Reference {
 public:
  Reference(Lab& lab, const Arguments& arguments, const Outputs& outputs)
      : lab_(lab),
        from_(arguments),
        outputs_(outputs),
        fast_(lab.info().numerics == "fast"),
        bf16_operands_(lab.backend().sizes().operand_bytes() != sizeof(float)),
        q8_(lab.options().dense_weights == DenseWeights::kQ8) {}

  Comparison run() {
    const std::string& name = from_.operation;
    if (name == "embed") embed();
    if (name == "rmsNorm") rms_norm();
    if (name == "linear") linear("in", "out", "output", word("precision") == "high");
    if (name == "lmHead") linear("hidden", "vocab", "logits", true);
    if (name == "qkv") qkv();
    if (name == "attention") attention();
    if (name == "router") router();
    if (name == "experts") experts();
    if (name == "sample") sample();
    if (name == "swiglu") swiglu_rows();
    if (name == "mxfp4Dequantize") mxfp4_dequantize();
    if (name == "mxfp4Gemm") mxfp4_gemm();
    if (!not_finite_.empty()) refuse_operands();
    return result_;
  }

 private:
  int number(const char* name) const { return int(from_.numbers.at(name)); }
  double number_or(const char* name, double otherwise) const {
    const auto found = from_.numbers.find(name);
    return found == from_.numbers.end() ? otherwise : found->second;
  }
  std::string word(const char* name) const {
    const auto found = from_.words.find(name);
    return found == from_.words.end() ? "" : found->second;
  }
  std::vector<float> floats(const char* name) const { return read_floats(lab_, from_.arrays.at(name)); }
  std::vector<float> floats_or_zeros(const char* name, size_t count) const {
    return from_.arrays.contains(name) ? floats(name) : std::vector<float>(count);
  }
  // A few elements of a large array.
  std::vector<float> part(const char* name, size_t first, size_t count) const {
    std::vector<float> values(count);
    read_floats(lab_, from_.arrays.at(name), first, values);
    return values;
  }
  std::vector<float> actual(const char* name) const { return read_floats(lab_, outputs_.at(name)); }

  void check(const char* output, size_t element, double actual, double expected, double permitted) {
    // A kernel is not wrong for what no float32 can hold.
    if (!(std::fabs(expected) <= std::numeric_limits<float>::max()) || !std::isfinite(permitted)) {
      if (not_finite_.empty()) not_finite_ = str(output, "[", element, "]");
      return;
    }
    ++result_.values;
    const double error = std::fabs(actual - expected);
    // A NaN is never right. Where both are exact, the quotient would be none.
    double part = actual == expected ? 0 : error / permitted;
    if (std::isnan(part)) part = std::numeric_limits<double>::infinity();
    if (part < result_.worst || (part == result_.worst && !result_.where.empty())) return;
    result_.worst = part;
    result_.where = str(output, "[", element, "]: ", actual, ", expected ", expected, " within ", permitted);
  }

  // Finds the operand that is at fault: NaN before infinities, of which the negative one often means "none". Large finite
  // values can be the reason, too; then there is no such operand.
  struct Culprit {
    std::string name, text;
    int rank = 0;
  };
  Culprit culprit() const {
    Culprit found;
    const auto consider = [&](const std::string& name, size_t i, int rank, const char* value) {
      if (rank > found.rank) found = {name, str(name, "[", i, "] is ", value), rank};
    };
    for (const auto& [name, array] : from_.arrays) {
      if (array.synthetic) continue;
      if (array.dtype == DType::kU8 && name.ends_with("cales")) {
        const std::vector<uint8_t> scales = bytes(name.c_str(), 0, array.elements);
        const auto at = std::ranges::find(scales, 255);
        if (at != scales.end()) consider(name, size_t(at - scales.begin()), 3, "255, which is NaN");
      }
      if (array.dtype != DType::kF32 && array.dtype != DType::kBF16) continue;
      const std::vector<float> values = floats(name.c_str());
      for (size_t i = 0; i < values.size(); ++i) {
        if (std::isnan(values[i])) consider(name, i, 3, "NaN");
        if (std::isinf(values[i])) consider(name, i, values[i] > 0 ? 2 : 1, values[i] > 0 ? "Infinity" : "-Infinity");
      }
    }
    return found;
  }
  [[noreturn]] void refuse_operands() const {
    const Culprit found = culprit();
    throw Error(Code::kInvalidArgument,
                str("expected operands with a finite result, but ", not_finite_, " of ", from_.operation,
                    " is not finite in float32", found.name.empty() ? "" : ", as ", found.text,
                    "; `check: false` measures it all the same"),
                found.name);
  }

  // At most `most` of [0, count): evenly, with the first and the last.
  static std::vector<int> some(int count, double most) {
    const int n = std::clamp(int(most), std::min(count, 2), count);
    std::vector<int> chosen;
    for (int i = 0; i < n; ++i) chosen.push_back(n == 1 ? 0 : int(int64_t(i) * (count - 1) / (n - 1)));
    return chosen;
  }

  // The part of x that the device drops before a product: numerics "fast" keeps 8 bits of mantissa, or 16.
  double dropped(double x, bool precise) const {
    if (!fast_) return 0;
    const double high = bf16_to_f32(f32_to_bf16(float(x)));
    if (!precise) return std::fabs(x - high);
    return std::fabs(x - high - bf16_to_f32(f32_to_bf16(float(x - high))));
  }
  // One element of a product with a row of weights, and how far it may be off: the rounding of the activations, of
  // weights in Q8, and of the sums. Roundings have random signs, so their sum grows like the square root of their
  // number, and the worst of millions has five deviations. Units that multiply bf16 may cut instead of round.
  struct Sum {
    double value = 0, permitted = 0;
  };
  Sum product(const float* x, const float* w, int n, bool precise, bool is_q8) const {
    Sum out;
    double magnitude = 0, squares = 0, largest = 0, squares_x = 0;
    for (int i = 0; i < n; ++i) {
      const double term = double(x[i]) * w[i];
      out.value += term;
      magnitude += std::fabs(term);
      squares += std::pow(dropped(x[i], precise) * w[i], 2);
      largest = std::max(largest, double(std::fabs(w[i])));
      squares_x += double(x[i]) * x[i];
    }
    // A Q8 weight is a multiple of 1/127 of the largest of its block, rounded to bf16 by units of "fast".
    const double q8 = is_q8 ? std::sqrt(squares_x) * largest * (0.5 / 127 + (fast_ ? kBf16 : 0)) : 0;
    out.permitted =
        of_sum(magnitude, 5 * (std::sqrt(squares) + q8) + magnitude * kF32 * (4 + 10 * std::sqrt(double(n))));
    return out;
  }
  // The error of a sum whose terms have this magnitude together. Kernels sum in float32, which may not hold it.
  static double of_sum(double magnitude, double error) {
    return magnitude <= std::numeric_limits<float>::max() ? error : std::numeric_limits<double>::infinity();
  }
  double operand_rounding(double value) const { return std::fabs(value) * (bf16_operands_ ? kBf16 : 0); }

  void embed() {
    const int hidden = number("hidden");
    const std::vector<int32_t> tokens = read_integers(lab_, from_.arrays.at("tokens"));
    const std::vector<float> y = actual("output");
    for (const int t : some(int(tokens.size()), 64)) {
      const std::vector<float> row = part("table", size_t(tokens[size_t(t)]) * size_t(hidden), size_t(hidden));
      for (int i = 0; i < hidden; ++i) {
        double largest = 0;
        const int block = i / 32 * 32;
        for (int j = block; q8_ && j < std::min(block + 32, hidden); ++j)
          largest = std::max(largest, double(std::fabs(row[size_t(j)])));
        check("output", size_t(t) * size_t(hidden) + size_t(i), y[size_t(t) * size_t(hidden) + size_t(i)],
              row[size_t(i)], largest * 0.51 / 127);
      }
    }
  }

  void rms_norm() {
    const int rows = number("rows"), hidden = number("hidden");
    const double eps = number_or("epsilon", 1e-5f);
    const std::vector<float> x = floats("x"), w = floats("weight"), y = actual("output");
    for (const int r : some(rows, 256)) {
      const float* row = x.data() + size_t(r) * size_t(hidden);
      double squares = 0;
      for (int i = 0; i < hidden; ++i) squares += double(row[i]) * row[i];
      const double factor = 1 / std::sqrt(squares / hidden + eps);
      for (int i = 0; i < hidden; ++i) {
        const double expected = row[i] * factor * w[size_t(i)];
        const double rounding = std::fabs(expected) * kF32 * (8 + std::sqrt(double(hidden)));
        check("output", size_t(r) * size_t(hidden) + size_t(i), y[size_t(r) * size_t(hidden) + size_t(i)], expected,
              of_sum(squares, rounding + operand_rounding(expected) * 1.01 + 1e-38));
      }
    }
  }

  void linear(const char* in_name, const char* out_name, const char* output, bool precise) {
    const int rows = number("rows"), in = number(in_name), out = number(out_name);
    const std::vector<float> x = floats("x"), y = actual(output);
    const std::vector<float> bias = floats_or_zeros("bias", size_t(out)),
                             residual = floats_or_zeros("residual", size_t(rows) * size_t(out));
    // The router's matrix is never rounded.
    const bool is_q8 = q8_ && in % 32 == 0 && from_.operation + word("precision") != "linearhigh";
    const std::vector<int> tokens = some(rows, 8);
    for (const int o : some(out, kMostWork / double(tokens.size()) / in)) {
      const std::vector<float> w = part("weight", size_t(o) * size_t(in), size_t(in));
      for (const int r : tokens) {
        const size_t at = size_t(r) * size_t(out) + size_t(o);
        const Sum sum = product(x.data() + size_t(r) * size_t(in), w.data(), in, precise, is_q8);
        const double expected = sum.value + bias[size_t(o)] + residual[at];
        check(output, at, y[at], expected,
              sum.permitted + (std::fabs(bias[size_t(o)]) + std::fabs(residual[at]) + std::fabs(expected)) * 2 * kF32 +
                  1e-38);
      }
    }
  }

  float as_cached(float value, KvType type) const {
    return type == kKvF32 ? value : type == kKvBF16 ? bf16_to_f32(f32_to_bf16(value)) : e4m3_to_f32(f32_to_e4m3(value));
  }
  KvType cache_type() const {
    const std::string name = word("kvCacheDtype");
    if (name.empty()) return lab_.backend().sizes().defaults().kv_type;
    return name == "f32" ? kKvF32 : name == "bf16" ? kKvBF16 : kKvFP8;
  }
  static double cache_rounding(double value, KvType type) {
    return type == kKvF32 ? 0 : type == kKvBF16 ? std::fabs(value) * kBf16 : std::fabs(value) * 0x1p-4 + 0x1p-10;
  }

  void qkv() {
    const int tokens = number("tokens"), hidden = number("hidden"), heads = number("heads"),
              kv_heads = number("kvHeads"), head_dim = int(number_or("headDim", kHeadDim)), half = head_dim / 2;
    Config config;
    config.head_dim = head_dim;
    config.rope = {.theta = number_or("ropeTheta", 150000),
                   .factor = number_or("ropeFactor", 32),
                   .beta_fast = number_or("ropeBetaFast", 32),
                   .beta_slow = number_or("ropeBetaSlow", 1),
                   .original_context = int64_t(number_or("ropeOriginalContext", 4096)),
                   .truncate = false};
    const Rope rope(config);
    std::vector<int32_t> positions(size_t(tokens), 0);
    if (from_.arrays.contains("positions"))
      positions = read_integers(lab_, from_.arrays.at("positions"));
    else if (tokens > kMostSequences)
      std::iota(positions.begin(), positions.end(), 0);

    const std::vector<float> x = floats("x");
    const KvType type = cache_type();
    struct Part {
      const char *output, *weight, *bias;
      int heads;
      bool rotated;
    };
    const std::vector<int> chosen = some(tokens, 4);
    for (const Part& one : {Part{"q", "qWeight", "qBias", heads, true}, Part{"k", "kWeight", "kBias", kv_heads, true},
                            Part{"v", "vWeight", "vBias", kv_heads, false}}) {
      const std::vector<float> y = actual(one.output), bias = floats(one.bias);
      for (int h = 0; h < one.heads; ++h) {
        const size_t first = size_t(h) * size_t(head_dim);
        const std::vector<float> w = part(one.weight, first * size_t(hidden), size_t(head_dim) * size_t(hidden));
        for (const int t : chosen) {
          std::vector<Sum> sums(static_cast<size_t>(head_dim));
          for (int i = 0; i < head_dim; ++i) {
            Sum& sum = sums[size_t(i)];
            sum = product(x.data() + size_t(t) * size_t(hidden), w.data() + size_t(i) * size_t(hidden), hidden, false,
                          q8_ && hidden % 32 == 0);
            sum.value += bias[first + size_t(i)];
            sum.permitted += std::fabs(sum.value) * 2 * kF32;
          }
          std::vector<float> table(static_cast<size_t>(head_dim));
          rope.fill(positions[size_t(t)], table.data());
          for (int i = 0; i < head_dim; ++i) {
            Sum expected = sums[size_t(i)];
            if (one.rotated) {
              const int pair = i % half;
              const double c = table[size_t(pair)], s = table[size_t(half + pair)];
              const Sum &a = sums[size_t(pair)], &b = sums[size_t(half + pair)];
              expected.value = i < half ? a.value * c - b.value * s : b.value * c + a.value * s;
              expected.permitted = (a.permitted + b.permitted) * std::max(std::fabs(c), std::fabs(s)) +
                                   (std::fabs(a.value) + std::fabs(b.value)) * 4 * kF32;
            }
            const bool cached = one.output[0] != 'q';
            expected.permitted +=
                1.01 * (cached ? cache_rounding(expected.value, type) : operand_rounding(expected.value));
            // A value at the border between two numbers of a narrow type may take either.
            if (cached && type != kKvF32) expected.permitted *= 2;
            const size_t at = (size_t(t) * size_t(one.heads) + size_t(h)) * size_t(head_dim) + size_t(i);
            check(one.output, at, y[at], expected.value, expected.permitted + 1e-38);
          }
        }
      }
    }
  }

  // p rounds by 2^-8 of itself at most where a unit multiplies bf16, in numerator and denominator alike. So the result
  // moves by the distance of each value from it, weighted by p; independent errors add like squares.
  void attention() {
    const int tokens = number("tokens"), heads = number("heads"), kv_heads = number("kvHeads"), keys = number("keys"),
              head_dim = int(number_or("headDim", kHeadDim)), window = int(number_or("window", 0));
    const double scale = number_or("scale", 1 / std::sqrt(double(head_dim)));
    std::vector<int32_t> lengths = {keys}, sequence(size_t(tokens), 0), positions;
    if (from_.arrays.contains("lengths")) lengths = read_integers(lab_, from_.arrays.at("lengths"));
    if (from_.arrays.contains("sequence")) sequence = read_integers(lab_, from_.arrays.at("sequence"));
    if (from_.arrays.contains("positions")) {
      positions = read_integers(lab_, from_.arrays.at("positions"));
    } else {
      std::vector<int32_t> counts(lengths.size()), seen(lengths.size());
      for (const int32_t s : sequence) ++counts[size_t(s)];
      for (const int32_t s : sequence) positions.push_back(lengths[size_t(s)] - counts[size_t(s)] + seen[size_t(s)]++);
    }
    const std::vector<float> q = floats("q"), sinks = floats("sinks"), y = actual("output");
    const KvType type = cache_type();
    const size_t row = size_t(kv_heads) * size_t(head_dim);
    for (const int t : some(tokens, 4)) {
      const int position = positions[size_t(t)], first = window > 0 ? std::max(0, position - window + 1) : 0;
      size_t before = 0;
      for (int s = 0; s < sequence[size_t(t)]; ++s) before += size_t(lengths[size_t(s)]);
      const size_t count = size_t(position - first + 1);
      std::vector<float> k = part("k", (before + size_t(first)) * row, count * row),
                         v = part("v", (before + size_t(first)) * row, count * row);
      for (float& value : k) value = as_cached(value, type);
      for (float& value : v) value = as_cached(value, type);
      for (int h = 0; h < heads; ++h) {
        const float* query = q.data() + (size_t(t) * size_t(heads) + size_t(h)) * size_t(head_dim);
        const size_t kv = size_t(h / (heads / kv_heads)) * size_t(head_dim);
        std::vector<double> p(count), score_error(count);
        double best = sinks[size_t(h)];
        for (size_t key = 0; key < count; ++key) {
          double magnitude = 0, lost = 0;
          for (int d = 0; d < head_dim; ++d) {
            const double term = double(query[d]) * k[key * row + kv + size_t(d)];
            p[key] += term * scale;
            magnitude += std::fabs(term * scale);
            lost += std::pow(dropped(query[d], type == kKvF32) * k[key * row + kv + size_t(d)] * scale, 2);
          }
          score_error[key] =
              of_sum(magnitude, magnitude * kF32 * (8 + std::sqrt(double(head_dim))) + 5 * std::sqrt(lost));
          best = std::max(best, p[key]);
        }
        double total = std::exp(sinks[size_t(h)] - best);
        for (double& score : p) total += score = std::exp(score - best);
        for (int d = 0; d < head_dim; ++d) {
          double expected = 0, squares = 0, moved = 0, magnitude = 0;
          for (size_t key = 0; key < count; ++key) expected += p[key] / total * v[key * row + kv + size_t(d)];
          for (size_t key = 0; key < count; ++key) {
            const double w = p[key] / total, value = v[key * row + kv + size_t(d)];
            squares += w * w * (value - expected) * (value - expected);
            moved += w * std::fabs(value - expected) * score_error[key];
            magnitude += w * std::fabs(value);
          }
          const double rounded = fast_ ? 0x1p-8 * 1.01 * 5 * std::sqrt(squares) : 0;
          const size_t at = (size_t(t) * size_t(heads) + size_t(h)) * size_t(head_dim) + size_t(d);
          check("output", at, y[at], expected,
                rounded + moved + magnitude * kF32 * (16 + 10 * std::sqrt(double(count))) +
                    1.01 * operand_rounding(expected) + 1e-9);
        }
      }
    }
  }

  void router() {
    const int tokens = number("tokens"), experts = number("experts"),
              top_k = int(number_or("topK", std::min(4, experts)));
    const std::vector<float> logits = floats("logits"), weight = actual("weight");
    const std::vector<int32_t> index = read_integers(lab_, outputs_.at("index"));
    for (int t = 0; t < tokens; ++t) {
      const float* row = logits.data() + size_t(t) * size_t(experts);
      if (std::any_of(row, row + experts, [](float logit) { return std::isnan(logit); })) {  // they have no order
        check("weight", size_t(t) * size_t(top_k), 0, NAN, 1);
        continue;
      }
      std::vector<int> order(static_cast<size_t>(experts));
      std::iota(order.begin(), order.end(), 0);
      std::ranges::sort(order, [&](int a, int b) { return row[a] > row[b] || (row[a] == row[b] && a < b); });
      double total = 0;
      for (int k = 0; k < top_k; ++k) total += std::exp(double(row[order[size_t(k)]]) - row[order[0]]);
      for (int k = 0; k < top_k; ++k) {
        const size_t at = size_t(t) * size_t(top_k) + size_t(k);
        check("index", at, index[at], order[size_t(k)], 0.5);
        check("weight", at, weight[at], std::exp(double(row[order[size_t(k)]]) - row[order[0]]) / total, 1e-6);
      }
    }
  }

  // Row `row` of an expert's matrix.
  std::vector<float> mxfp4_row(const char* blocks_name, const char* scales_name, size_t row, int cols) const {
    const size_t blocks = size_t(cols) / kMxBlock;
    const std::vector<uint8_t> codes = bytes(blocks_name, row * blocks * kMxBlockBytes, blocks * kMxBlockBytes),
                               scales = bytes(scales_name, row * blocks, blocks);
    std::vector<float> values(static_cast<size_t>(cols));
    for (int i = 0; i < cols; ++i) {
      const uint8_t pair = codes[size_t(i / kMxBlock) * kMxBlockBytes + size_t(i % kMxBlock / 2)];
      values[size_t(i)] = e2m1_times2(i % 2 == 0 ? pair & 15u : pair >> 4) * e8m0_half(scales[size_t(i / kMxBlock)]);
    }
    return values;
  }
  std::vector<uint8_t> bytes(const char* name, size_t first, size_t count) const {
    const Array& from = from_.arrays.at(name);
    std::vector<uint8_t> out(count);
    if (from.synthetic) {
      HostTensor tensor;
      tensor.dtype = from.dtype;
      tensor.shape = {int64_t(from.elements)};
      tensor.bytes = from.bytes();
      tensor.synthetic = from.synthetic;
      tensor.read(first, count, out.data());
    } else if (from.device != nullptr) {
      const std::vector<std::byte> all = lab_.read(*from.device);
      std::copy_n(reinterpret_cast<const uint8_t*>(all.data()) + first, count, out.begin());
    } else {
      std::copy_n(reinterpret_cast<const uint8_t*>(from.host.data()) + first, count, out.begin());
    }
    return out;
  }

  static double swiglu(double gate, double up, double alpha, double limit) {
    gate = std::min(gate, limit);
    up = std::clamp(up, -limit, limit);
    return gate / (1 + std::exp(-alpha * gate)) * (up + 1);
  }

  void experts() {
    const int tokens = number("tokens"), hidden = number("hidden"), intermediate = number("intermediate"),
              top_k = int(number_or("topK", std::min(4, number("experts"))));
    const double alpha = number_or("alpha", 1.702f), limit = number_or("limit", 7);
    const std::vector<int32_t> index = read_integers(lab_, from_.arrays.at("index"));
    const std::vector<float> x = floats("x"), weight = floats("weight"), y = actual("output"),
                             residual = floats_or_zeros("residual", y.size());
    const double work = double(top_k) * 2 * intermediate * hidden;
    for (const int t : some(tokens, kMostWork / 4 / work)) {
      const std::vector<int> columns = some(hidden, kMostWork / 4 / (double(top_k) * intermediate));
      std::vector<Sum> sums(columns.size());
      const float* row = x.data() + size_t(t) * size_t(hidden);
      for (int k = 0; k < top_k; ++k) {
        const size_t pair = size_t(t) * size_t(top_k) + size_t(k), e = size_t(index[pair]);
        const std::vector<float> up_bias = part("gateUpBias", e * 2 * size_t(intermediate), 2 * size_t(intermediate));
        std::vector<float> act(static_cast<size_t>(intermediate));
        std::vector<double> act_error(act.size());
        for (int i = 0; i < intermediate; ++i) {
          Sum of[2];
          for (int j = 0; j < 2; ++j) {
            const size_t r = e * 2 * size_t(intermediate) + size_t(2 * i + j);
            of[j] = product(row, mxfp4_row("gateUpBlocks", "gateUpScales", r, hidden).data(), hidden, false, false);
            of[j].value += up_bias[size_t(2 * i + j)];
          }
          const double value = swiglu(of[0].value, of[1].value, alpha, limit);
          // The slope of gate · sigmoid(alpha · gate) is at most 1.1; beyond the limits nothing moves.
          const double gate_part = std::fabs(swiglu(of[0].value, 0, alpha, limit));
          act[size_t(i)] = float(value);
          act_error[size_t(i)] = 1.1 * of[0].permitted * (std::fabs(std::clamp(of[1].value, -limit, limit)) + 1) +
                                 gate_part * of[1].permitted + std::fabs(value) * (fast_ ? kBf16 * 1.01 : 8 * kF32);
        }
        for (size_t c = 0; c < columns.size(); ++c) {
          const size_t r = e * size_t(hidden) + size_t(columns[c]);
          const std::vector<float> w = mxfp4_row("downBlocks", "downScales", r, intermediate);
          double value = part("downBias", r, 1)[0], magnitude = std::fabs(value), squares = 0;
          for (int i = 0; i < intermediate; ++i) {
            const double term = double(w[size_t(i)]) * act[size_t(i)];
            value += term;
            magnitude += std::fabs(term);
            squares += std::pow(w[size_t(i)] * act_error[size_t(i)], 2);
          }
          // The errors of activations are independent; the worst of thousands of their sums has five deviations.
          sums[c].value += weight[pair] * value;
          const double rounding = magnitude * kF32 * (8 + 10 * std::sqrt(double(intermediate)));
          sums[c].permitted += std::fabs(weight[pair]) * of_sum(magnitude, 5 * std::sqrt(squares) + rounding);
        }
      }
      for (size_t c = 0; c < columns.size(); ++c) {
        const size_t at = size_t(t) * size_t(hidden) + size_t(columns[c]);
        const double expected = sums[c].value + residual[at];
        check("output", at, y[at], expected,
              sums[c].permitted + (std::fabs(expected) + std::fabs(residual[at])) * 4 * kF32 + 1e-38);
      }
    }
  }

  // A drawn token is possible; the greedy one is the best. Its log probability is that of the softmax.
  void sample() {
    const int rows = number("rows"), vocab = number("vocab");
    const std::vector<int32_t> token = read_integers(lab_, outputs_.at("token"));
    const std::vector<float> logprob = actual("logprob");
    for (int r = 0; r < rows; ++r) {
      const std::vector<float> logits = part("logits", size_t(r) * size_t(vocab), size_t(vocab));
      const auto best = std::ranges::max_element(logits);
      double total = 0;
      for (const float logit : logits) total += std::exp(double(logit) - *best);
      if (!std::isfinite(total)) {
        check("logprob", size_t(r), 0, total, 1);
        continue;
      }
      const int32_t drawn = token[size_t(r)];
      const bool valid = drawn >= 0 && drawn < vocab && logits[size_t(drawn)] > -INFINITY;
      const bool greedy = number_or("temperature", 1) == 0;
      check("token", size_t(r), drawn, !valid || greedy ? double(best - logits.begin()) : drawn, 0.5);
      if (valid) check("logprob", size_t(r), logprob[size_t(r)], logits[size_t(drawn)] - *best - std::log(total), 1e-5);
    }
  }

  void swiglu_rows() {
    const double alpha = number_or("alpha", 1.702f), limit = number_or("limit", 7);
    const std::vector<float> x = floats("x"), y = actual("output");
    for (size_t i = 0; i < y.size(); ++i) {
      const double expected = swiglu(x[2 * i], x[2 * i + 1], alpha, limit);
      // The rounded argument of exp is off by 2^-24 of itself, and so is exp of it, times the argument.
      const double argument = std::fabs(alpha * std::min(double(x[2 * i]), limit));
      check("output", i, y[i], expected, std::fabs(expected) * (8 + 2 * argument) * kF32 + 1e-37);
    }
  }

  void mxfp4_dequantize() {
    const int rows = number("rows"), cols = number("cols");
    const std::vector<float> y = actual("output");
    for (const int r : some(rows, 256)) {
      const std::vector<float> row = mxfp4_row("blocks", "scales", size_t(r), cols);
      for (int i = 0; i < cols; ++i) {
        const size_t at = size_t(r) * size_t(cols) + size_t(i);
        check("output", at, y[at], row[size_t(i)], 1e-45);
      }
    }
  }

  void mxfp4_gemm() {
    const int rows = number("rows"), in = number("in"), out = number("out");
    const std::vector<float> x = floats("x"), y = actual("output"), bias = floats_or_zeros("bias", size_t(out));
    const std::vector<int> chosen = some(rows, 8);
    for (const int o : some(out, kMostWork / double(chosen.size()) / in)) {
      const std::vector<float> w = mxfp4_row("blocks", "scales", size_t(o), in);
      for (const int r : chosen) {
        const Sum sum = product(x.data() + size_t(r) * size_t(in), w.data(), in, false, false);
        const size_t at = size_t(r) * size_t(out) + size_t(o);
        check("output", at, y[at], sum.value + bias[size_t(o)],
              sum.permitted + std::fabs(bias[size_t(o)]) * 2 * kF32 + 1e-38);
      }
    }
  }

  Lab& lab_;
  const Arguments& from_;
  const Outputs& outputs_;
  const bool fast_, bf16_operands_, q8_;
  Comparison result_;
  std::string not_finite_;  // the first element whose right value is not finite
};

}  // namespace

Comparison compare(Lab& lab, const Arguments& arguments, const Outputs& outputs) {
  return Reference(lab, arguments, outputs).run();
}

}  // namespace oss::lab
