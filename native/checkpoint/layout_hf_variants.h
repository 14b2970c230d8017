// Checkpoints with Hugging Face's config and names, but with other experts or dense weights: merged fine-tunes, whose
// experts are floats, and MLX.
#pragma once
#include <memory>
#include <string>

#include "native/checkpoint/conversions.h"
#include "native/checkpoint/stored_tensors.h"
#include "native/loader/json_file.h"
#include "native/model/weights.h"

namespace oss {

// "huggingface", "huggingface, bf16 experts" or "mlx", by the names of the tensors.
const char* hf_variant(const Tensors& tensors);

// Refuses a quantisation that the config names, where the tensors are not MXFP4. Throws kUnsupported.
void refuse_other_quantization(const JsonReader& config, const Tensors& tensors);

// The canonical tensors of a variant, with experts that are floats in the wanted format. Messages about missing tensors
// name `where`. Throws as open_checkpoint.
Tensors convert_hf_variant(const Config& config, const Tensors& tensors, ExpertWeights experts,
                           const std::string& where, const std::shared_ptr<Conversions>& conversions);

}  // namespace oss
