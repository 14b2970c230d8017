// RoPE with YaRN: the angles, computed once for all devices.
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
#include <memory>
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

// The rows of fill(), cached: 64 angles take 2 µs, and a chunk of a prompt has thousands of positions. The table takes
// 256 bytes for each position that was ever reached, in pieces of 256 positions.
class RopeTable {
 public:
  explicit RopeTable(const Config& config) : rope_(config), row_size_(size_t(config.head_dim)) {}

  const float* row(int64_t position);  // [head_dim]

 private:
  Rope rope_;
  size_t row_size_;
  std::vector<std::unique_ptr<float[]>> pieces_;
};

}  // namespace oss
