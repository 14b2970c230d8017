// Weights in other formats: MXFP4 made from floats, and reads of any range of a converted tensor.
#include <cmath>
#include <cstring>
#include <random>

#include "kernels/common/dtype.h"
#include "kernels/common/mxfp4.h"
#include "native/base/float_values.h"
#include "native/base/mxfp4_quantize.h"
#include "native/base/tensor_source.h"
#include "native/checkpoint/converted_tensors.h"
#include "native/checkpoint/quantized_experts.h"
#include "native/loader/scales.h"
#include "test/native/check.h"
#include "test/native/converted.h"

using namespace oss;
using namespace oss::test;

namespace {

float decoded(const uint8_t* codes, uint8_t scale, int i) {
  const uint32_t code = uint32_t(codes[i / 2] >> (4 * (i % 2))) & 15u;
  return e2m1_times2(code) * e8m0_half(scale);
}

// The squared error of the nearest values for this scale, in double and by search.
double error_with(const float* x, int scale) {
  constexpr double kGrid[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
  double sum = 0;
  for (int i = 0; i < kMxBlock; ++i) {
    double best = 1e300;
    for (const double value : kGrid)
      best = std::fmin(best, std::fabs(std::fabs(double(x[i])) - std::ldexp(value, scale - 127)));
    sum += best * best;
  }
  return sum;
}

}  // namespace

TEST("conversion: every float16 becomes its float32") {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const uint32_t exponent = (bits >> 10) & 31, fraction = bits & 1023;
    const double magnitude = exponent == 0    ? std::ldexp(double(fraction), -24)
                             : exponent == 31 ? (fraction == 0 ? INFINITY : NAN)
                                              : std::ldexp(1024.0 + fraction, int(exponent) - 25);
    const double expected = bits & 0x8000 ? -magnitude : magnitude, actual = f16_to_f32(uint16_t(bits));
    CHECK(std::isnan(expected) ? std::isnan(actual)
                               : actual == expected && std::signbit(actual) == bool(bits & 0x8000));
  }
}

TEST("conversion: a block becomes the nearest MXFP4, and no scale gives a smaller error") {
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  for (int round = 0; round < 5000; ++round) {
    float x[kMxBlock];
    const float size = std::ldexp(1.0f, int(random() % 60) - 40);
    for (float& value : x) value = normal(random) * size;
    uint8_t codes[kMxBlockBytes] = {};
    const uint8_t made = quantize_mxfp4(x, codes);
    double error = 0;
    for (int i = 0; i < kMxBlock; ++i) error += std::pow(double(decoded(codes, made, i)) - x[i], 2);
    CHECK(std::fabs(error - error_with(x, made)) <= 1e-6 * error);
    for (int scale = made - 2; scale <= made + 2; ++scale) CHECK(error <= error_with(x, scale) * (1 + 1e-5));
  }
}

TEST("conversion: values of MXFP4 come back exactly, with their signs") {
  std::mt19937 random(6);
  for (int round = 0; round < 5000; ++round) {
    const auto scale = uint8_t(kLeastScale + random() % (kGreatestScale - kLeastScale + 1));
    uint8_t codes[kMxBlockBytes] = {}, again[kMxBlockBytes] = {};
    for (uint8_t& code : codes) code = uint8_t(random() & (round % 3 == 0 ? 0x99 : 0xFF));  // few magnitudes, or all
    float x[kMxBlock];
    for (int i = 0; i < kMxBlock; ++i)
      x[i] = bf16_to_f32(f32_to_bf16(decoded(codes, scale, i)));  // as a merge has them
    const uint8_t made = quantize_mxfp4(x, again);
    CHECK(made >= kLeastScale && made <= kGreatestScale);
    for (int i = 0; i < kMxBlock; ++i)
      CHECK(std::bit_cast<uint32_t>(decoded(again, made, i)) == std::bit_cast<uint32_t>(x[i]));
  }
}

TEST("conversion: blocks of zeros, the smallest and the greatest numbers") {
  struct Row {
    float value;
    float expected;
  };
  // The least scale is 2: half of it is a normal number. The greatest is 252: six of it are finite.
  const Row rows[] = {{0, 0},
                      {-0.0f, -0.0f},
                      {std::ldexp(1.0f, -149), 0},
                      {std::ldexp(1.0f, -126), std::ldexp(1.0f, -126)},
                      {3.3e38f, 6 * std::ldexp(1.0f, 125)}};
  for (const Row& row : rows) {
    float x[kMxBlock];
    for (float& value : x) value = row.value;
    uint8_t codes[kMxBlockBytes] = {};
    const uint8_t scale = quantize_mxfp4(x, codes);
    CHECK_EQ(decoded(codes, scale, 31), row.expected);
  }
}

TEST("conversion: experts with infinity or NaN are refused by place") {
  for (const float bad : {INFINITY, -INFINITY, NAN}) {
    std::vector<uint16_t> values(2 * 3 * 64, f32_to_bf16(1.0f));
    values[(3 + 2) * 64 + 40] = f32_to_bf16(bad);
    const auto bytes = bytes_of(values);
    const Mxfp4Tensors experts = quantized_experts(stored_of(bytes, {2, 3, 64}, DType::kBF16, Packing::kPlain),
                                                   ExpertOrder::kRowsOfOutputs, std::make_shared<Conversions>());
    CHECK_THROWS(Code::kModelFormat, "expert 1, output 2, inputs 32 to 63", read_all(experts.blocks));
    std::vector<uint16_t> turned(2 * 64 * 150, f32_to_bf16(1.0f));
    turned[(64 + 40) * 150 + 130] = f32_to_bf16(bad);
    const auto turned_bytes = bytes_of(turned);
    const Mxfp4Tensors others = quantized_experts(stored_of(turned_bytes, {2, 64, 150}, DType::kBF16, Packing::kPlain),
                                                  ExpertOrder::kRowsOfInputs, std::make_shared<Conversions>());
    CHECK_THROWS(Code::kModelFormat, "expert 1, output 130, inputs 32 to 63", read_all(others.blocks));
  }
}

TEST("conversion: experts with inputs first are transposed, and every range has the bytes of the whole") {
  constexpr int64_t kExperts = 3, kRows = 140, kCols = 96;  // more rows than a tile has
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  std::vector<uint16_t> outputs_first(kExperts * kRows * kCols), inputs_first(outputs_first.size());
  for (int64_t e = 0; e < kExperts; ++e)
    for (int64_t r = 0; r < kRows; ++r)
      for (int64_t c = 0; c < kCols; ++c)
        outputs_first[size_t((e * kRows + r) * kCols + c)] = inputs_first[size_t((e * kCols + c) * kRows + r)] =
            f32_to_bf16(normal(random));
  const auto plain = bytes_of(outputs_first), turned = bytes_of(inputs_first);
  const auto conversions = std::make_shared<Conversions>(), others = std::make_shared<Conversions>();
  const Mxfp4Tensors a = quantized_experts(stored_of(plain, {kExperts, kRows, kCols}, DType::kBF16, Packing::kPlain),
                                           ExpertOrder::kRowsOfOutputs, conversions);
  const Mxfp4Tensors b = quantized_experts(stored_of(turned, {kExperts, kCols, kRows}, DType::kBF16, Packing::kPlain),
                                           ExpertOrder::kRowsOfInputs, others);
  CHECK(a.blocks.shape == (std::vector<int64_t>{kExperts, kRows, kCols / 32, 16}) && a.blocks.shape == b.blocks.shape);
  const auto blocks = read_all(a.blocks), scales = read_all(a.scales);
  CHECK(blocks == read_all(b.blocks) && scales == read_all(b.scales));
  const ConversionSum sum = conversions->sum(Conversions::kExperts);
  CHECK_EQ(sum.values, uint64_t(kExperts * kRows * kCols));
  double squares = 0, error_squares = 0;
  for (size_t i = 0; i < outputs_first.size(); ++i) {
    const double x = bf16_to_f32(outputs_first[i]);
    const auto* codes = reinterpret_cast<const uint8_t*>(blocks.data()) + i / 32 * 16;
    squares += x * x;
    error_squares += std::pow(double(decoded(codes, uint8_t(scales[i / 32]), int(i % 32))) - x, 2);
  }
  // Both sums are within 2^-19, as those of each block are (cpu::Mxfp4Loss).
  const double rms = std::sqrt(error_squares / squares);
  CHECK(std::fabs(sum.relative_rms() - rms) <= rms * 0x1p-19);
  CHECK(sum.relative_rms() > 0.09 && sum.relative_rms() < 0.13);  // 11.2 % of normal values: mxfp4_quantize.h
  check_ranges(b.blocks, 8);
  check_ranges(b.scales, 9);
  // Scales alone, of tensors whose blocks were never read.
  const Mxfp4Tensors c = quantized_experts(stored_of(turned, {kExperts, kCols, kRows}, DType::kBF16, Packing::kPlain),
                                           ExpertOrder::kRowsOfInputs, std::make_shared<Conversions>());
  CHECK(read_all(c.scales) == scales);
  CHECK(read_all(c.blocks) == blocks);
}

TEST("conversion: any range of a converted tensor has the bytes of the whole") {
  std::mt19937 random(10);
  std::vector<std::byte> q8(34 * 3 * 50), mx(17 * 4 * 60);
  for (std::byte& byte : q8) byte = std::byte(random() & 0x3F);  // scales are positive and finite
  for (std::byte& byte : mx) byte = std::byte(2 + random() % 250);
  const auto conversions = std::make_shared<Conversions>();
  check_ranges(converted_matrix(stored_of(q8, {50, 96}, DType::kU8, Packing::kQ8), conversions), 11);
  check_ranges(converted_vector(stored_of(q8, {int64_t(q8.size() / 2)}, DType::kF16, Packing::kPlain)), 12);
  check_ranges(converted_matrix(stored_of(q8, {int64_t(q8.size() / 2)}, DType::kF16, Packing::kPlain), conversions),
               13);
  for (const Packing packing : {Packing::kMxfp4Halves, Packing::kMxfp4Pairs}) {
    const Mxfp4Tensors one = converted_mxfp4(stored_of(mx, {4, 20, 96}, DType::kU8, packing));
    check_ranges(one.blocks, 14);
    check_ranges(one.scales, 15);
    const HostTensor both = interleaved_rows({one.blocks, one.blocks}, 2);
    CHECK(both.shape == (std::vector<int64_t>{4, 40, 3, 16}));
    check_ranges(both, 16);
    check_ranges(interleaved_rows({one.scales, one.scales}, 1), 17);
  }
}

TEST("conversion: the order of nibbles in GGML's blocks") {
  std::vector<std::byte> halves{std::byte(127)}, pairs{std::byte(127)};
  for (int j = 0; j < 16; ++j)
    halves.push_back(std::byte(uint8_t(j | ((15 - j) << 4))));  // elements j: j; j + 16: 15 - j
  const auto element = [](int i) { return i < 16 ? i : 31 - i; };
  for (int j = 0; j < 16; ++j) pairs.push_back(std::byte(uint8_t(element(2 * j) | (element(2 * j + 1) << 4))));
  const auto from_halves =
      read_all(converted_mxfp4(stored_of(halves, {1, 1, 32}, DType::kU8, Packing::kMxfp4Halves)).blocks);
  const auto from_pairs =
      read_all(converted_mxfp4(stored_of(pairs, {1, 1, 32}, DType::kU8, Packing::kMxfp4Pairs)).blocks);
  CHECK(from_halves == from_pairs);
  CHECK(std::equal(from_pairs.begin(), from_pairs.end(), pairs.begin() + 1));
}

TEST("conversion: Q8 blocks are copied, and a negative scale is not taken") {
  std::vector<std::byte> q8(34 * 2);
  for (size_t i = 0; i < q8.size(); ++i) q8[i] = std::byte(i & 0x3F);
  const HostTensor matrix =
      converted_matrix(stored_of(q8, {1, 64}, DType::kU8, Packing::kQ8), std::make_shared<Conversions>());
  int8_t codes[64];
  uint16_t scales[2];
  CHECK(matrix.source->holds_q8());
  CHECK(matrix.source->read_q8(matrix, 0, 2, codes, scales));
  CHECK(std::memcmp(codes, q8.data() + 2, 32) == 0 && std::memcmp(codes + 32, q8.data() + 36, 32) == 0);
  CHECK(std::memcmp(&scales[1], q8.data() + 34, 2) == 0);
  q8[35] = std::byte(0x90);
  CHECK(!matrix.source->read_q8(matrix, 0, 2, codes, scales));
}
