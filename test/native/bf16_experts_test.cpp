// Experts that stay bf16: transposed, rounded where the file has more bits, and refused where nothing can be kept.
#include "native/checkpoint/bf16_experts.h"

#include <cmath>

#include "kernels/common/dtype.h"
#include "kernels/common/mxfp4.h"
#include "native/adapters/merge.h"
#include "native/base/float_values.h"
#include "native/base/mxfp4_quantize.h"
#include "native/base/tensor_source.h"
#include "native/checkpoint/checkpoint.h"
#include "native/checkpoint/synthetic.h"
#include "native/model/pack.h"
#include "native/model/weight_sums.h"
#include "test/native/converted.h"

using namespace oss;
using namespace oss::test;

namespace {

constexpr int64_t kExperts = 3, kRows = 140, kCols = 72;  // more rows than a tile, and no whole tile of columns

// Value i of [experts, rows, cols]: as it is, and as [experts, cols, rows].
template <typename T>
struct Both {
  std::vector<T> outputs_first, inputs_first;

  template <typename Make>
  explicit Both(const Make& make) : outputs_first(kExperts * kRows * kCols), inputs_first(outputs_first.size()) {
    for (int64_t e = 0; e < kExperts; ++e)
      for (int64_t r = 0; r < kRows; ++r)
        for (int64_t c = 0; c < kCols; ++c)
          outputs_first[size_t((e * kRows + r) * kCols + c)] = inputs_first[size_t((e * kCols + c) * kRows + r)] =
              make();
  }
};

struct Kept {
  std::shared_ptr<Conversions> conversions = std::make_shared<Conversions>();
  HostTensor tensor;

  Kept(const std::vector<std::byte>& bytes, DType dtype, ExpertOrder order)
      : tensor(
            bf16_experts(stored_of(bytes,
                                   order == ExpertOrder::kRowsOfInputs ? std::vector<int64_t>{kExperts, kCols, kRows}
                                                                       : std::vector<int64_t>{kExperts, kRows, kCols},
                                   dtype, Packing::kPlain),
                         order, conversions)) {}
  ConversionSum sum() const { return conversions->sum(Conversions::kExperts); }
};

}  // namespace

TEST("bf16_experts: bf16 keeps its bits, in the file where the order is right, and transposed where it is not") {
  std::mt19937 random(1);
  const Both<uint16_t> both([&] { return uint16_t(random() & 0xBFFFu); });  // finite
  const auto plain = bytes_of(both.outputs_first), turned = bytes_of(both.inputs_first);
  const Kept as_is(plain, DType::kBF16, ExpertOrder::kRowsOfOutputs),
      other(turned, DType::kBF16, ExpertOrder::kRowsOfInputs);
  CHECK(!as_is.tensor.is_made() && as_is.tensor.data == plain.data());
  CHECK(other.tensor.dtype == DType::kBF16 && other.tensor.shape == (std::vector<int64_t>{kExperts, kRows, kCols}));
  CHECK(read_all(other.tensor) == plain);
  check_ranges(other.tensor, 2);
  CHECK_EQ(other.sum().values, 0u);  // nothing is converted
}

TEST("bf16_experts: float32 and float16 are rounded to nearest, and counted") {
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  const Both<float> floats([&] { return normal(random); });
  const auto expect = [&](const std::vector<std::byte>& bytes, DType dtype, ExpertOrder order,
                          const std::vector<float>& values) {
    const Kept kept(bytes, dtype, order);
    const auto read = read_all(kept.tensor);
    double squares = 0, errors = 0;
    uint64_t changed = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      uint16_t bits;
      std::memcpy(&bits, read.data() + i * sizeof bits, sizeof bits);
      CHECK_EQ(bits, f32_to_bf16(values[i]));
      const double error = double(bf16_to_f32(bits)) - double(values[i]);
      squares += double(values[i]) * values[i];
      errors += error * error;
      changed += error != 0;
    }
    const ConversionSum sum = kept.sum();
    CHECK_EQ(sum.values, values.size());
    CHECK_EQ(sum.changed, changed);
    CHECK(std::fabs(sum.relative_rms() - std::sqrt(errors / squares)) < 1e-9);
    CHECK(sum.relative_rms() < 0x1p-9);  // half a step of 2^-8, at most
    check_ranges(kept.tensor, 4);
  };
  expect(bytes_of(floats.outputs_first), DType::kF32, ExpertOrder::kRowsOfOutputs, floats.outputs_first);
  expect(bytes_of(floats.inputs_first), DType::kF32, ExpertOrder::kRowsOfInputs, floats.outputs_first);
  const Both<uint16_t> halves([&] { return uint16_t(random() & 0xBBFFu); });  // finite
  std::vector<float> values;
  for (const uint16_t half : halves.outputs_first) values.push_back(f16_to_f32(half));
  expect(bytes_of(halves.outputs_first), DType::kF16, ExpertOrder::kRowsOfOutputs, values);
  expect(bytes_of(halves.inputs_first), DType::kF16, ExpertOrder::kRowsOfInputs, values);
}

TEST("bf16_experts: infinity and NaN are refused by place, and so is what bf16 cannot hold") {
  const auto expect = [](DType dtype, ExpertOrder order, float bad) {
    std::vector<float> values(kExperts * kRows * kCols, 1.0f);
    const bool turned = order == ExpertOrder::kRowsOfInputs;
    values[size_t(turned ? (kCols + 40) * kRows + 133 : (kRows + 133) * kCols + 40)] = bad;
    std::vector<uint16_t> bits;
    for (const float value : values) bits.push_back(f32_to_bf16(value));
    const auto bytes = dtype == DType::kF32 ? bytes_of(values) : bytes_of(bits);
    CHECK_THROWS(Code::kModelFormat, "expert 1, output 133, input 40: expected a weight that is finite in bf16",
                 read_all(Kept(bytes, dtype, order).tensor));
  };
  for (const float bad : {INFINITY, -INFINITY, NAN}) {
    expect(DType::kBF16, ExpertOrder::kRowsOfInputs, bad);
    expect(DType::kF32, ExpertOrder::kRowsOfInputs, bad);
    expect(DType::kF32, ExpertOrder::kRowsOfOutputs, bad);
  }
  expect(DType::kF32, ExpertOrder::kRowsOfOutputs, 3.4e38f);
}

TEST("bf16_experts: a checkpoint that stores MXFP4 has none to keep") {
  for (const char* model : {"a", "b", "c"}) {
    CHECK_THROWS(Code::kUnsupported, "gate_up_proj_blocks\": expertWeights \"bf16\" keeps experts",
                 open_checkpoint(source_path(str("test/golden/models/", model)), {}, 1, ExpertWeights::kBF16));
    CHECK_THROWS(Code::kUnsupported, "use \"mxfp4\", which has the same values",
                 open_headers(source_path(str("test/golden/models/", model)), ExpertWeights::kBF16));
  }
}

TEST("bf16_experts: a synthetic model has random ones, as large as those in MXFP4") {
  const auto checkpoint = synthetic_checkpoint("synthetic:tiny", ExpertWeights::kBF16);
  const auto mxfp4 = synthetic_checkpoint("synthetic:tiny");
  size_t matrices = 0;
  for (const WeightSpec& spec : weight_specs(checkpoint->config)) {
    if (!is_mxfp4(spec.use)) {
      CHECK(read_all(checkpoint->tensor(spec.name)) == read_all(mxfp4->tensor(spec.name)));
      continue;
    }
    CHECK(!checkpoint->tensors.contains(spec.name));
    if (!is_blocks(spec.use)) continue;
    ++matrices;
    const HostTensor* experts = bf16_experts_of(spec, checkpoint->tensors);
    CHECK(experts != nullptr && experts->shape == (std::vector<int64_t>{spec.shape[0], spec.shape[1], 64}));
    const auto bytes = read_all(*experts);
    double squares = 0;
    for (size_t i = 0; i < bytes.size() / 2; ++i) squares += std::pow(float_at(DType::kBF16, bytes.data(), i), 2);
    const double rms = std::sqrt(squares / double(bytes.size() / 2));
    CHECK(std::fabs(rms * 8 - 1) < 0.05);  // 1/sqrt(64)
  }
  CHECK_EQ(matrices, 4u);
  // All of the bytes count: as those that a token reads, and as the weights of a plan.
  const Config& config = checkpoint->config;
  const double more = bytes_per_token(config, 0, 2, 2, ExpertWeights::kBF16) - bytes_per_token(config, 0, 2);
  CHECK_EQ(more, 2.0 * 4 * 3 * 64 * 64 * (2 - 17.0 / 32));  // layers, chosen experts, matrices
}

// W + scale · B A, rounded once, in any range. The base is what the golden model's blocks stand for.
TEST("bf16_experts: an adapter is merged into them, and experts that it leaves alone keep their bits") {
  const auto checkpoint = open_checkpoint(source_path("test/golden/models/c"));
  const auto adapter = read_adapter(source_path("test/golden/adapters/c.unsloth"), 1, checkpoint->config);
  std::map<std::string, std::vector<std::byte>> kept;  // in this order, so that tensors can point into it
  Tensors tensors = checkpoint->tensors;
  for (const WeightSpec& spec : weight_specs(checkpoint->config)) {
    if (!is_blocks(spec.use)) continue;
    const std::string name = experts_name(spec);
    const HostTensor &blocks = tensors.at(spec.name), &scales = tensors.at(name + "_scales");
    std::vector<uint16_t> bits;
    for (size_t b = 0; b < scales.bytes; ++b) {
      float values[kMxBlock];
      dequantize_mxfp4(blocks.as<uint8_t>() + b * kMxBlockBytes, scales.as<uint8_t>()[b], values);
      for (const float value : values) bits.push_back(f32_to_bf16(value));
    }
    const auto& bytes = kept[name] = bytes_of(bits);
    tensors[name] =
        stored_of(bytes, {spec.shape[0], spec.shape[1], spec.shape[2] * kMxBlock}, DType::kBF16, Packing::kPlain).data;
    tensors.erase(spec.name);
    tensors.erase(name + "_scales");
  }
  const MergeError error = merge_adapter(adapter, tensors);
  CHECK(error.of_weights == 0 && error.of_change == 0);  // MXFP4 has no part in it
  size_t changed = 0;
  for (const auto& [name, before] : kept) {
    const HostTensor& merged = tensors.at(name);
    CHECK(merged.is_made() && merged.dtype == DType::kBF16);
    const auto after = read_all(merged);
    check_ranges(merged, 5);
    const auto& factors = adapter->targets.at(name);
    const int64_t rows = merged.shape[1], cols = merged.shape[2];
    for (size_t e = 0; e < factors.size(); ++e) {
      const size_t first = e * size_t(rows * cols);
      if (factors[e].empty()) {
        CHECK(std::memcmp(after.data() + 2 * first, before.data() + 2 * first, size_t(2 * rows * cols)) == 0);
        continue;
      }
      const std::vector<float> a = factors[e].a.values(), b = factors[e].b.values();
      const size_t rank = size_t(factors[e].rank());
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t c = 0; c < cols; ++c) {
          const size_t i = first + size_t(r * cols + c);
          double exact = float_at(DType::kBF16, before.data(), i);
          for (size_t k = 0; k < rank; ++k)
            exact += double(factors[e].scale) * b[size_t(r) * rank + k] * a[k * size_t(cols) + size_t(c)];
          const double found = float_at(DType::kBF16, after.data(), i);
          changed += found != float_at(DType::kBF16, before.data(), i);
          CHECK(std::fabs(found - exact) <= 0x1p-8 * std::fabs(exact) + 1e-6);  // half a step, and float32 sums
        }
      }
    }
  }
  CHECK(changed > 100'000);
}
