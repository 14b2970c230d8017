#include "native/adapters/targets.h"

#include "native/base/str.h"

namespace oss {

using Target = FactorName::Target;

MatrixSizes gate_up_of(const Config& c) { return {c.hidden, 2 * int64_t(c.intermediate)}; }
MatrixSizes down_of(const Config& c) { return {c.intermediate, c.hidden}; }

MatrixSizes sizes_of(Target target, const Config& c) {
  switch (target) {
    case Target::kQ:
      return {c.hidden, c.q_size()};
    case Target::kK:
    case Target::kV:
      return {c.hidden, c.kv_size()};
    case Target::kO:
      return {c.q_size(), c.hidden};
    case Target::kRouter:
      return {c.hidden, c.num_experts};
    default:
      return {c.hidden, c.vocab};
  }
}

std::string dense_weight(Target target, int layer) {
  if (target == Target::kLmHead) return "lm_head.weight";
  const char* matrix = target == Target::kQ   ? "self_attn.q_proj"
                       : target == Target::kK ? "self_attn.k_proj"
                       : target == Target::kV ? "self_attn.v_proj"
                       : target == Target::kO ? "self_attn.o_proj"
                                              : "mlp.router";
  return str("model.layers.", layer, ".", matrix, ".weight");
}

std::string experts_weight(int layer, const std::string& matrix) {
  return str("model.layers.", layer, ".mlp.experts.", matrix);
}

}  // namespace oss
