#include "native/checkpoint/layout.h"

namespace oss {

const Layout& layout_of(const JsonReader& config) {
  const bool names_its_class = config.has("model_type") || config.has("architectures");
  const bool original = !names_its_class && (config.has("num_experts") || config.has("rope_scaling_factor"));
  return original ? kOriginalLayout : kHuggingFaceLayout;
}

}  // namespace oss
