// Packs the tensors of a checkpoint into a model in the memory of a device.
#pragma once
#include <functional>
#include <span>
#include <vector>

#include "native/backend/weight_packer.h"
#include "native/model/weights.h"

namespace oss {

// The shapes of the experts, in the order in which they are packed.
std::vector<ExpertShape> expert_shapes(const Config& config);

// Bytes that the weights of such a model take on a device in addition to their files.
uint64_t packed_bytes(const Config& config, const WeightPacker& packer);

// Packs these weights into their places in the model, whose layers must exist.
void pack_weights(std::span<const WeightSpec> specs, const Tensors& tensors, WeightPacker& packer, Model& model);

// Gives every weight to the packer once, after reserve_weights(). `progress(done, total)` counts layers and may throw
// to stop the loading. The tensors must outlive the model: their mapped files may be the weights themselves.
Model pack_model(const Config& config, const Tensors& tensors, WeightPacker& packer,
                 const std::function<void(size_t, size_t)>& progress);

}  // namespace oss
