#include "native/model/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace oss {

Rope::Rope(const Config& config) {
  const RopeConfig& rope = config.rope;
  const int half = config.head_dim / 2;
  inv_freq_.resize(half);
  for (int i = 0; i < half; ++i) inv_freq_[i] = std::pow(rope.theta, -2.0 * i / config.head_dim);
  if (rope.factor <= 1) return;

  // The pair of elements that makes `turns` full turns over the original context.
  const auto pair_with_turns = [&](double turns) {
    return half * std::log(double(rope.original_context) / (turns * 2 * std::numbers::pi)) / std::log(rope.theta);
  };
  double low = pair_with_turns(rope.beta_fast), high = pair_with_turns(rope.beta_slow);
  if (rope.truncate) {
    low = std::max(std::floor(low), 0.0);
    high = std::min(std::ceil(high), config.head_dim - 1.0);
  }
  if (low == high) high += 0.001;  // a step instead of a ramp, as the reference does
  for (int i = 0; i < half; ++i) {
    const double ramp = std::clamp((i - low) / (high - low), 0.0, 1.0);
    inv_freq_[i] *= ramp / rope.factor + (1 - ramp);
  }
  concentration_ = 0.1 * std::log(rope.factor) + 1;
}

void Rope::fill(int64_t position, float* cos_sin) const {
  const size_t half = inv_freq_.size();
  for (size_t i = 0; i < half; ++i) {
    const double angle = double(position) * inv_freq_[i];
    cos_sin[i] = float(std::cos(angle) * concentration_);
    cos_sin[half + i] = float(std::sin(angle) * concentration_);
  }
}

const float* RopeTable::row(int64_t position) {
  constexpr int64_t kPiece = 256;
  const size_t piece = size_t(position / kPiece);
  if (pieces_.size() <= piece) pieces_.resize(piece + 1);
  if (pieces_[piece] == nullptr) {
    pieces_[piece] = std::make_unique<float[]>(size_t(kPiece) * row_size_);
    for (int64_t i = 0; i < kPiece; ++i) {
      rope_.fill(int64_t(piece) * kPiece + i, &pieces_[piece][size_t(i) * row_size_]);
    }
  }
  return &pieces_[piece][size_t(position % kPiece) * row_size_];
}

}  // namespace oss
