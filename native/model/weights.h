// The tensors of a gpt-oss model in one table: the name, the use and the destination of each. Names in files, checks,
// packing, sizes and synthetic models all follow from this table.
#pragma once
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "native/base/tensor.h"
#include "native/model/config.h"
#include "native/model/model.h"

namespace oss {

enum class WeightUse {
  // BF16 [rows, cols]
  kTable,    // a token looks up one row
  kProduct,  // a token is multiplied with all rows
  kRotated,  // as kProduct; the rows belong to heads that are rotated later
  kRouter,   // as kProduct; never rounded
  // BF16 or F32: the release has BF16; transformers' converter mentions F32 norms
  kVector,
  kNorm,        // its values are near 1
  kExpertBias,  // [experts, rows]
  // U8: MXFP4 of all experts; a token reads some of them
  kGateUp,  // blocks [experts, rows, cols/32, 16]; even rows gate, odd rows up
  kDown,    // blocks
  kScales,  // [experts, rows, cols/32]
};

constexpr bool is_matrix(WeightUse use) { return use <= WeightUse::kRouter; }
constexpr bool is_blocks(WeightUse use) { return use == WeightUse::kGateUp || use == WeightUse::kDown; }
constexpr bool is_mxfp4(WeightUse use) { return is_blocks(use) || use == WeightUse::kScales; }
constexpr bool is_of_experts(WeightUse use) { return use >= WeightUse::kExpertBias; }

// Blocks, scales and bias of one matrix of experts follow each other and share one place.
using WeightPlace =
    std::variant<Matrix& (*)(Model&, int layer), Vector& (*)(Model&, int layer), ExpertMatrix& (*)(Model&, int layer)>;

struct WeightSpec {
  std::string name;      // canonical: as in the Hugging Face layout
  std::string original;  // as in the original layout, where q, k and v are row ranges of one tensor, in that order
  WeightUse use;
  std::vector<int64_t> shape;
  // In synthetic models: of an element, or of its product with the square root of the inputs that a row sums.
  float deviation;
  WeightPlace place;
  int layer = -1;  // -1: not in a layer

  int64_t elements() const {
    int64_t n = 1;
    for (const int64_t extent : shape) n *= extent;
    return n;
  }
};

// All tensors of a model of this config: first those outside the layers, then layer by layer. This is the order of
// packing, so q, k and v are adjacent, and so are their biases.
std::vector<WeightSpec> weight_specs(const Config& config);

using Tensors = std::map<std::string, HostTensor>;

// The name of a matrix of experts, for the spec of its MXFP4 blocks. A BF16 tensor [experts, rows, cols] of this name
// takes the place of blocks and scales.
std::string experts_name(const WeightSpec& blocks);
// That tensor; null: the experts are MXFP4.
const HostTensor* bf16_experts_of(const WeightSpec& blocks, const Tensors& tensors);

// Throws kModelShape for a wrong shape or dtype, kModelFormat for missing or surplus tensors. Messages about missing
// tensors name `where`.
void check_weights(const std::vector<WeightSpec>& specs, const Tensors& tensors, const std::string& where);

}  // namespace oss
