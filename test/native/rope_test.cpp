#include "native/model/rope.h"

#include <cmath>

#include "native/loader/safetensors.h"
#include "test/native/check.h"

namespace oss {

static Config gpt_oss_rope() {
  Config config;
  config.head_dim = 64;
  config.rope = {
      .theta = 150000, .factor = 32, .beta_fast = 32, .beta_slow = 1, .original_context = 4096, .truncate = false};
  return config;
}

// Tolerance: double angles, one rounding of the result to float32 of at most 1.35: half a unit of 2^-23.
TEST("rope: cos and sin up to position 131071 match the float64 golden") {
  const SafetensorsFile golden = read_safetensors(test::source_path("test/golden/kernels/rope.safetensors"));
  const HostTensor& positions = golden.tensors.at("positions");
  const double* cos = golden.tensors.at("cos_f64").as<double>();
  const double* sin = golden.tensors.at("sin_f64").as<double>();
  const Rope rope(gpt_oss_rope());
  for (int64_t i = 0; i < positions.shape[0]; ++i) {
    float row[64];
    rope.fill(positions.as<int32_t>()[i], row);
    CHECK_CLOSE(str("cos at ", positions.as<int32_t>()[i]), row, cos + i * 32, 32, 1e-6, 0);
    CHECK_CLOSE(str("sin at ", positions.as<int32_t>()[i]), row + 32, sin + i * 32, 32, 1e-6, 0);
  }
  const double* inv_freq = golden.tensors.at("inv_freq_f64").as<double>();
  for (int i = 0; i < 32; ++i) CHECK(std::fabs(rope.inv_freq()[i] / inv_freq[i] - 1) < 1e-12);
  CHECK(std::fabs(rope.concentration() - *golden.tensors.at("concentration").as<double>()) < 1e-12);
}

TEST("rope: without YaRN the frequencies are plain powers and the concentration is 1") {
  Config config = gpt_oss_rope();
  config.rope.factor = 1;
  const Rope rope(config);
  CHECK(rope.concentration() == 1);
  CHECK(std::fabs(rope.inv_freq()[16] - 1 / std::sqrt(150000.0)) < 1e-15);
}

TEST("rope: truncated bounds are whole numbers, as in transformers' default") {
  Config config = gpt_oss_rope();
  const Rope exact(config);
  config.rope.truncate = true;
  const Rope rounded(config);
  CHECK(rounded.inv_freq()[8] == exact.inv_freq()[8]);  // below both ramps: 8 <= 8.09
  CHECK(rounded.inv_freq()[9] != exact.inv_freq()[9]);
  CHECK(rounded.inv_freq()[18] == exact.inv_freq()[18]);  // above both: 18 >= 17.4
}

TEST("rope: the table equals the rows of fill(), in either order") {
  const Config config = gpt_oss_rope();
  const Rope rope(config);
  RopeTable table(config);
  std::vector<float> row(size_t(config.head_dim));
  for (const int64_t position : {100'000, 0, 255, 256, 131'071, 100'001, 1}) {
    rope.fill(position, row.data());
    CHECK(std::equal(row.begin(), row.end(), table.row(position)));
  }
}

}  // namespace oss
