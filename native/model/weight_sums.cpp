#include "native/model/weight_sums.h"

#include <algorithm>

#include "native/model/weights.h"

namespace oss {

// The number of weights: a byte of MXFP4 blocks holds two, and scales are not weights.
static int64_t weights_in(const WeightSpec& spec) {
  if (spec.use == WeightUse::kScales) return 0;
  return spec.elements() * (is_blocks(spec.use) ? 2 : 1);
}

// The number of these elements that one token reads.
static int64_t of_a_token(const Config& config, const WeightSpec& spec, int64_t elements) {
  if (spec.use == WeightUse::kTable) return elements / spec.shape[0];
  return is_of_experts(spec.use) ? elements / config.num_experts * config.experts_per_token : elements;
}

int64_t parameters(const Config& config) {
  int64_t sum = 0;
  for (const WeightSpec& spec : weight_specs(config)) sum += weights_in(spec);
  return sum;
}

double bytes_per_token(const Config& config, int64_t context, int kv_element_bytes, double dense_element_bytes,
                       ExpertWeights experts) {
  double bytes = 0;
  for (const WeightSpec& spec : weight_specs(config)) {
    const bool is_dense = is_matrix(spec.use) && spec.use != WeightUse::kRouter;
    const bool in_bf16 = is_mxfp4(spec.use) && experts == ExpertWeights::kBF16;
    const double of_an_element = is_mxfp4(spec.use) && !in_bf16 ? 1 : is_dense ? dense_element_bytes : 2;
    bytes += of_an_element * double(of_a_token(config, spec, in_bf16 ? weights_in(spec) : spec.elements()));
  }
  for (const bool slides : config.layer_sliding) {
    const int64_t seen = slides ? std::min<int64_t>(context, config.sliding_window) : context;
    bytes += 2.0 * config.kv_size() * kv_element_bytes * double(seen);
  }
  return bytes;
}

// A multiplication of attention takes less time: a third on CPUs, measured with the demo model. Half is assumed.
int64_t context_of_a_token(const Config& config) {
  constexpr int64_t kFasterInAttention = 2;
  const int64_t full = std::count(config.layer_sliding.begin(), config.layer_sliding.end(), false);
  if (full == 0) return 0;
  int64_t matrices = 0;  // weights of the layers; few tokens are multiplied with the head
  for (const WeightSpec& spec : weight_specs(config)) {
    if (spec.layer < 0 || !(is_matrix(spec.use) || is_blocks(spec.use))) continue;
    matrices += of_a_token(config, spec, weights_in(spec));
  }
  return std::max<int64_t>(1, kFasterInAttention * matrices / (full * 2 * config.q_size()));  // keys and values
}

}  // namespace oss
