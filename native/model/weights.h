// The tensors that make a gpt-oss model, in one table: what each is called, what it is for, and where it goes. Names in
// files, checks, packing, sizes and synthetic models all follow from it.
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
  kTable,    // a token reads one row
  kProduct,  // a token is multiplied with all rows
  kRotated,  // the same, of heads that will be rotated
  kRouter,   // the same, and never rounded
  // BF16 or F32: the release has BF16, transformers' converter speaks of F32 norms
  kVector,
  kNorm,        // its values are near 1
  kExpertBias,  // [experts, rows]
  // U8: MXFP4 of all experts, of which a token reads some
  kGateUp,  // blocks [experts, rows, cols/32, 16]; even rows gate, odd rows up
  kDown,    // blocks
  kScales,  // [experts, rows, cols/32]
};

constexpr bool is_matrix(WeightUse use) { return use <= WeightUse::kRouter; }
constexpr bool is_blocks(WeightUse use) { return use == WeightUse::kGateUp || use == WeightUse::kDown; }
constexpr bool is_mxfp4(WeightUse use) { return is_blocks(use) || use == WeightUse::kScales; }
constexpr bool is_of_experts(WeightUse use) { return use >= WeightUse::kExpertBias; }

// Blocks, scales and bias of one matrix of experts come one after the other and have one place.
using WeightPlace =
    std::variant<Matrix& (*)(Model&, int layer), Vector& (*)(Model&, int layer), ExpertMatrix& (*)(Model&, int layer)>;

struct WeightSpec {
  std::string name;      // canonical: as the Hugging Face layout spells it
  std::string original;  // as the original layout does, where q, k and v are row ranges of one tensor, in that order
  WeightUse use;
  std::vector<int64_t> shape;
  // In synthetic models: of one element, or of its product with the square root of the inputs that a row sums over.
  float deviation;
  WeightPlace place;
  int layer = -1;  // -1: the model's own

  int64_t elements() const {
    int64_t n = 1;
    for (const int64_t extent : shape) n *= extent;
    return n;
  }
};

// Everything that a model of this config consists of: the model's own tensors, then layer by layer. This is the order in
// which they are packed, so q, k and v lie side by side, and so do their biases.
std::vector<WeightSpec> weight_specs(const Config& config);

using Tensors = std::map<std::string, HostTensor>;

// Throws kModelShape for a wrong shape or dtype, kModelFormat for tensors that are missing or too many.
// `where` is named in messages about tensors that are not there.
void check_weights(const std::vector<WeightSpec>& specs, const Tensors& tensors, const std::string& where);

}  // namespace oss
