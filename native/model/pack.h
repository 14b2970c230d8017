// Packs the tensors of a checkpoint into a model in the memory of a device.
#pragma once
#include <functional>
#include <span>
#include <vector>

#include "native/backend/backend_sizes.h"
#include "native/backend/weight_packer.h"
#include "native/model/weights.h"

namespace oss {

// The shapes of the experts, in the order in which they are packed.
std::vector<ExpertShape> expert_shapes(const Config& config);

// The bytes of a model's weights, by the place from which steps read them.
struct WeightBytes {
  uint64_t files = 0;   // of all tensors in the files: BF16, and MXFP4 experts
  uint64_t mapped = 0;  // of those that are used in a mapped file
  uint64_t copied = 0;  // memory on the device in addition to the mapped files
};
// experts_in_file: the packed experts are mapped from a file of their own (PackedWeights::in).
WeightBytes weight_bytes(const Config& config, const BackendSizes& sizes, bool experts_in_file);

// Packs these weights into their places in the model, whose layers must exist.
void pack_weights(std::span<const WeightSpec> specs, const Tensors& tensors, WeightPacker& packer, Model& model);

// Gives every weight to the packer once, after reserve_weights(). `progress(done, total)` counts layers and may throw
// to stop the loading. The tensors must outlive the model: their mapped files may be the weights themselves.
Model pack_model(const Config& config, const Tensors& tensors, WeightPacker& packer,
                 const std::function<void(size_t, size_t)>& progress);

}  // namespace oss
