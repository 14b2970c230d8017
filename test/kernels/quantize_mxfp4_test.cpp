// Rounding to MXFP4 by each instruction set, against the definition in native/base: equal blocks, scales and order of
// sums, so equal bits. What rounding changed is compared with sums in float64.
#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

#include "native/base/mxfp4_quantize.h"
#include "test/kernels/support.h"

namespace oss::test {
namespace {

struct Made {
  bool finite;
  std::vector<uint8_t> blocks, scales;
  std::vector<cpu::Mxfp4Loss> loss;

  Made(const cpu::Kernels& kernels, size_t count, const float* x, int block_stride, int value_stride)
      : blocks(count * kMxBlockBytes), scales(count), loss(count) {
    finite =
        kernels.quantize_mxfp4(int(count), x, block_stride, value_stride, blocks.data(), scales.data(), loss.data());
  }
};

// Blocks [count, 32] in each order that a kernel has a path for, alone and beside others.
void check_blocks(const std::vector<float>& x) {
  const size_t count = x.size() / kMxBlock;
  std::vector<uint8_t> blocks(count * kMxBlockBytes), scales(count);
  for (size_t b = 0; b < count; ++b)
    scales[b] = quantize_mxfp4(x.data() + b * kMxBlock, blocks.data() + b * kMxBlockBytes);
  std::vector<float> turned(x.size()), apart(2 * x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    turned[i % kMxBlock * count + i / kMxBlock] = x[i];
    apart[2 * i] = x[i];
  }
  for (const cpu::Kernels* kernels : cpu::available_kernels()) {
    const auto same = [&](const char* order, const Made& made) {
      if (!made.finite || made.blocks != blocks || made.scales != scales) {
        const auto differs = std::mismatch(blocks.begin(), blocks.end(), made.blocks.begin()).first - blocks.begin();
        fail(__FILE__, __LINE__, str(kernels->isa, ", ", order, ": block ", differs / kMxBlockBytes, " of ", count));
      }
    };
    const Made made(*kernels, count, x.data(), kMxBlock, 1);
    same("block after block", made);
    same("value after value", Made(*kernels, count, turned.data(), 1, int(count)));
    same("apart", Made(*kernels, count, apart.data(), 2 * kMxBlock, 2));
    for (size_t b = 0; b < count; ++b) {
      float rounded[kMxBlock];
      dequantize_mxfp4(blocks.data() + b * kMxBlockBytes, scales[b], rounded);
      double squares = 0, error_squares = 0, largest_error = 0;
      int changed = 0;
      for (int i = 0; i < kMxBlock; ++i) {
        const double value = x[b * kMxBlock + size_t(i)], error = double(rounded[i]) - value;
        squares += std::pow(std::ldexp(value, 127 - scales[b]), 2);
        error_squares += std::pow(std::ldexp(error, 127 - scales[b]), 2);
        largest_error = std::max(largest_error, std::fabs(error));
        changed += error != 0 ? 1 : 0;
      }
      const cpu::Mxfp4Loss& loss = made.loss[b];
      CHECK_EQ(loss.changed, changed);
      CHECK_EQ(double(loss.largest_error), largest_error);
      // Squares and sums of 32 of them in float32. Units below the least float32 are lost.
      CHECK(std::fabs(loss.squares - squares) <= squares * 0x1p-19 + 0x1p-140);
      CHECK(std::fabs(loss.error_squares - error_squares) <= error_squares * 0x1p-19 + 0x1p-140);
    }
  }
}

float power_of_two(int exponent) { return float(std::ldexp(1.0, exponent)); }

}  // namespace

TEST("mxfp4 quantise: normal values of every size, in any number of blocks") {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  for (int exponent = -160; exponent <= 125; ++exponent) {
    std::vector<float> x(size_t(1 + random() % 50) * kMxBlock);
    for (float& value : x) value = std::clamp(float(std::ldexp(double(normal(random)), exponent)), -3.4e38f, 3.4e38f);
    check_blocks(x);
  }
}

TEST("mxfp4 quantise: every bf16 value, beside the greatest values that choose a scale") {
  for (const float greatest : {4.0f, 6.0f, 6.03125f, 7.96875f, 0x1p-124f, 0x1.8p-100f, 0x1.fep+60f, 0x1p+127f}) {
    std::vector<float> x;
    for (uint32_t bits = 0; bits < 0x10000; ++bits) {
      const float value = bf16_to_f32(uint16_t(bits));
      if (!(std::fabs(value) <= greatest)) continue;
      if (x.size() % kMxBlock == 0) x.push_back(greatest);
      x.push_back(value);
    }
    while (x.size() % kMxBlock != 0) x.push_back(-0.0f);
    check_blocks(x);
  }
}

TEST("mxfp4 quantise: halfway values and their neighbours, at every scale") {
  const float halfway[] = {0, 0.25f, 0.5f, 0.75f, 1, 1.25f, 1.5f, 1.75f, 2, 2.5f, 3, 3.5f, 4, 5, 6, 7};
  std::mt19937 random(2);
  for (int exponent = -128; exponent <= 124; ++exponent) {
    std::vector<float> x;
    for (int b = 0; b < 20; ++b) {
      for (int i = 0; i < kMxBlock; ++i) {
        const float tie = halfway[random() % (b % 2 == 0 ? 15 : 16)] * power_of_two(exponent);
        const float near = std::nextafter(tie, random() % 2 == 0 ? 0.0f : std::numeric_limits<float>::max());
        x.push_back((random() % 2 == 0 ? 1.0f : -1.0f) * (random() % 3 == 0 ? near : tie));
      }
    }
    check_blocks(x);
  }
}

TEST("mxfp4 quantise: random bits, where values of one block are many powers of two apart") {
  std::mt19937 random(3);
  std::vector<float> x;
  while (x.size() < size_t(20000) * kMxBlock) {
    const float value = std::bit_cast<float>(uint32_t(random()));
    if (std::isfinite(value)) x.push_back(value);
  }
  check_blocks(x);
}

TEST("mxfp4 quantise: two scales with nearly the same error") {
  // Multiples of 1/16 up to 8 have exact sums of errors: the two are often equal, and then the first scale is taken.
  std::mt19937 random(4);
  std::vector<float> x;
  int equal = 0;
  for (int b = 0; b < 20000; ++b) {
    float block[kMxBlock] = {};
    const int used = 1 + int(random() % 6);
    for (int i = 0; i < used; ++i) block[i] = float(random() % 128) / 16;
    block[used] = 6 + float(1 + random() % 31) / 16;
    double errors[2] = {0, 0};
    const float grid[] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
    for (int coarser = 0; coarser < 2; ++coarser) {
      for (const float value : block) {
        float least = 8;
        for (const float step : grid) least = std::min(least, std::fabs(value - step * float(1 + coarser)));
        errors[coarser] += double(least) * least;
      }
    }
    equal += errors[0] == errors[1] ? 1 : 0;
    x.insert(x.end(), block, block + kMxBlock);
  }
  CHECK(equal > 100);
  check_blocks(x);
}

TEST("mxfp4 quantise: infinities and NaN are reported at every place; then the definition makes all blocks") {
  constexpr size_t kCount = 35;
  std::vector<float> x = random_floats(kCount * kMxBlock, 5);
  std::vector<uint8_t> blocks(kCount * kMxBlockBytes), scales(kCount);
  for (const float bad : {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                          std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::quiet_NaN()}) {
    for (size_t at = 0; at < x.size(); at += 37) {
      const float before = std::exchange(x[at], bad);
      for (const cpu::Kernels* kernels : cpu::available_kernels())
        CHECK(!Made(*kernels, kCount, x.data(), 32, 1).finite);
      CHECK(!quantize_mxfp4_blocks(int(kCount), x.data(), kMxBlock, 1, blocks.data(), scales.data()));
      for (size_t b = 0; b < kCount; ++b) {
        uint8_t expected[kMxBlockBytes];
        CHECK_EQ(int(scales[b]), int(quantize_mxfp4(x.data() + b * kMxBlock, expected)));
        CHECK(std::memcmp(expected, blocks.data() + b * kMxBlockBytes, kMxBlockBytes) == 0);
      }
      x[at] = before;
    }
  }
  CHECK(quantize_mxfp4_blocks(int(kCount), x.data(), kMxBlock, 1, blocks.data(), scales.data()));
  CHECK(quantize_mxfp4_blocks(0, nullptr, kMxBlock, 1, nullptr, nullptr));
}

}  // namespace oss::test
