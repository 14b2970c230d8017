#include "native/adapters/serve.h"

#include <string>

#include "kernels/common/dtype.h"
#include "native/adapters/targets.h"

namespace oss {
namespace {

struct Owned {
  std::vector<uint16_t> elements;
  AdapterWeights weights;
};

class Builder {
 public:
  Builder(Owned& owned, const Adapter& adapter) : owned_(owned) {
    owned_.elements.reserve(adapter.bytes() / sizeof(uint16_t));  // the matrices point into it
  }

  LowRank low_rank(const LowRankFactors& factors) {
    if (factors.empty()) return {};
    return {.a = matrix(factors.a), .b = matrix(factors.b), .scale = factors.scale};
  }

 private:
  Matrix matrix(const FactorView& view) {
    const uint16_t* data = owned_.elements.data() + owned_.elements.size();
    for (const float value : view.values()) owned_.elements.push_back(f32_to_bf16(value));
    return {.data = data, .rows = view.rows, .cols = view.cols};
  }

  Owned& owned_;
};

}  // namespace

std::shared_ptr<const AdapterWeights> serve_adapter(const Adapter& adapter, const Config& config) {
  auto owned = std::make_shared<Owned>();
  Builder builder(*owned, adapter);
  const auto dense = [&](const std::string& weight) {
    const auto found = adapter.targets.find(weight);
    return found == adapter.targets.end() ? LowRank{} : builder.low_rank(found->second.front());
  };
  const auto experts = [&](const std::string& weight) {
    std::vector<LowRank> all;
    if (const auto found = adapter.targets.find(weight); found != adapter.targets.end()) {
      for (const LowRankFactors& factors : found->second) all.push_back(builder.low_rank(factors));
    }
    return all;
  };
  using Target = FactorName::Target;
  for (int i = 0; i < config.num_layers; ++i) {
    const auto of_layer = [&](Target target) { return dense(dense_weight(target, i)); };
    owned->weights.layers.push_back({.q = of_layer(Target::kQ),
                                     .k = of_layer(Target::kK),
                                     .v = of_layer(Target::kV),
                                     .o = of_layer(Target::kO),
                                     .router = of_layer(Target::kRouter),
                                     .gate_up = experts(experts_weight(i, "gate_up_proj")),
                                     .down = experts(experts_weight(i, "down_proj"))});
  }
  owned->weights.lm_head = dense("lm_head.weight");
  return {owned, &owned->weights};
}

}  // namespace oss
