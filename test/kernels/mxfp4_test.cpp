#include "kernels/common/mxfp4.h"

#include "test/kernels/support.h"

namespace oss::test {

TEST("mxfp4: golden blocks, exact, every byte value at every edge scale") {
  const SafetensorsFile file = golden("mxfp4");
  const HostTensor &blocks = file.tensors.at("blocks"), &scales = file.tensors.at("scales");
  const std::vector<float> expected = floats(file.tensors.at("expect_f32"));
  for (const cpu::Kernels* kernels : cpu::available_kernels()) {
    std::vector<float> y(expected.size());
    kernels->mxfp4_dequantize(size_t(scales.elements()), blocks.as<uint8_t>(), scales.as<uint8_t>(), y.data());
    for (size_t i = 0; i < y.size(); ++i) {
      const bool same = std::isnan(expected[i]) ? std::isnan(y[i]) : y[i] == expected[i];
      if (!same) fail(__FILE__, __LINE__, str(kernels->isa, " at ", i, ": got ", y[i], ", expected ", expected[i]));
    }
  }
}

TEST("mxfp4: all 256 scales with all 16 codes, subnormals kept, 255 is NaN") {
  const float magnitudes[8] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
  for (const cpu::Kernels* kernels : cpu::available_kernels()) {
    for (int scale = 0; scale < 256; ++scale) {
      uint8_t block[kMxBlockBytes];
      const uint8_t byte = uint8_t(scale);
      for (int j = 0; j < kMxBlockBytes; ++j) block[j] = uint8_t(j | (15 - j) << 4);
      float y[kMxBlock];
      kernels->mxfp4_dequantize(1, block, &byte, y);
      for (int i = 0; i < kMxBlock; ++i) {
        const int code = i % 2 == 0 ? i / 2 : 15 - i / 2;
        const float expected = float(std::ldexp(code < 8 ? magnitudes[code] : -magnitudes[code - 8], scale - 127));
        if (scale == 255) {
          CHECK(std::isnan(y[i]));
        } else {
          CHECK_EQ(y[i], expected);
        }
      }
    }
  }
}

TEST("mxfp4: the shared definitions agree") {
  const float doubled[8] = {0, 1, 2, 3, 4, 6, 8, 12};
  for (uint32_t code = 0; code < 16; ++code) CHECK_EQ(e2m1_times2(code), code < 8 ? doubled[code] : -doubled[code - 8]);
  for (uint32_t e = 0; e < 255; ++e) CHECK_EQ(e8m0_half(e), float(std::ldexp(0.5, int(e) - 127)));
  CHECK(std::isnan(e8m0_half(255)));
}

TEST("dtype: bf16 rounds to nearest even") {
  CHECK_EQ(f32_to_bf16(1.0f), 0x3F80);
  CHECK_EQ(f32_to_bf16(std::bit_cast<float>(0x3F808000u)), 0x3F80);  // half way: to the even one below
  CHECK_EQ(f32_to_bf16(std::bit_cast<float>(0x3F818000u)), 0x3F82);  // half way: to the even one above
  CHECK_EQ(f32_to_bf16(std::bit_cast<float>(0x3F808001u)), 0x3F81);
  CHECK_EQ(f32_to_bf16(std::bit_cast<float>(0x7F7FFFFFu)), 0x7F80);  // past the largest: infinity
  CHECK(std::isnan(bf16_to_f32(f32_to_bf16(std::bit_cast<float>(0x7F800001u)))));
  CHECK_EQ(bf16_to_f32(0xC040), -3.0f);
}

}  // namespace oss::test
