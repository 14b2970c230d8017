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
  uint64_t canonical = 0;  // of all tensors as OpenAI's files have them: BF16, and experts in the wanted format
  uint64_t mapped = 0;     // of those that are used in a mapped file
  uint64_t copied = 0;     // memory on the device in addition to the mapped files
  bool q8 = false;         // matrices are kept in Q8 blocks
};
// experts_in_file: the packed experts are mapped from a file of their own (PackedWeights::in). `tensors`: those that are
// packed; null, or without a tensor: it is a part of a file, as OpenAI's files have it. A matrix that a GGUF file holds in
// Q8_0 counts as Q8, which holds unless one of its scales is negative; those that GGML writes are not.
// Experts in bf16 are copies unless `tensors` has them in a file, because merged models store them transposed.
WeightBytes weight_bytes(const Config& config, const BackendSizes& sizes, bool experts_in_file,
                         const Tensors* tensors = nullptr, ExpertWeights experts = ExpertWeights::kMXFP4);

// Packs these weights into their places in the model, whose layers must exist.
void pack_weights(std::span<const WeightSpec> specs, const Tensors& tensors, WeightPacker& packer, Model& model);

// Gives every weight to the packer once, after reserve_weights(). `progress(done, total)` counts layers and may throw
// to stop the loading. The tensors must outlive the model: their mapped files may be the weights themselves.
Model pack_model(const Config& config, const Tensors& tensors, WeightPacker& packer,
                 const std::function<void(size_t, size_t)>& progress);

}  // namespace oss
