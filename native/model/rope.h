// RoPE with YaRN: the angles, once for every device.
//
//   angle(p, i) = p · inv_freq[i]      cos, sin multiplied by the concentration, so that q·k carries its square
//   inv_freq[i] = ramp_i / (factor · theta^(2i/d)) + (1 - ramp_i) / theta^(2i/d)
//   ramp_i      = clamp((i - low) / (high - low), 0, 1)
//   low, high   = d/2 · ln(original_context / (2π · beta_{fast,slow})) / ln theta, not rounded unless `truncate`
//   concentration = 0.1 · ln factor + 1
// Source: YaRN (Peng et al. 2023), sections 3.2 to 3.4, as OpenAI's reference of gpt-oss applies it.
//
// Everything is computed in double: in float32 the angle alone is off by 5.9e-3 at position 131,071.
#pragma once
#include <cstdint>
#include <vector>

#include "native/model/config.h"

namespace oss {

class Rope {
 public:
  explicit Rope(const Config& config);

  // Writes cos[head_dim/2], then sin[head_dim/2], of one position.
  void fill(int64_t position, float* cos_sin) const;

  const std::vector<double>& inv_freq() const { return inv_freq_; }
  double concentration() const { return concentration_; }

 private:
  std::vector<double> inv_freq_;  // [head_dim/2]
  double concentration_ = 1;
};

}  // namespace oss
