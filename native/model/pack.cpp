#include "native/model/pack.h"

#include "kernels/common/mxfp4.h"
#include "native/base/tensor_source.h"

namespace oss {

static MatrixUse matrix_use(WeightUse use) {
  switch (use) {
    case WeightUse::kTable:
      return MatrixUse::kTable;
    case WeightUse::kRotated:
      return MatrixUse::kRotated;
    case WeightUse::kRouter:
      return MatrixUse::kRouter;
    default:
      return MatrixUse::kProduct;
  }
}

static ExpertShape expert_shape(const WeightSpec& blocks) {
  return {blocks.shape[0], blocks.shape[1], blocks.shape[2] * kMxBlock};
}

std::vector<ExpertShape> expert_shapes(const Config& config) {
  std::vector<ExpertShape> shapes;
  for (const WeightSpec& spec : weight_specs(config)) {
    if (is_blocks(spec.use)) shapes.push_back(expert_shape(spec));
  }
  return shapes;
}

WeightBytes weight_bytes(const Config& config, const BackendSizes& sizes, bool experts_in_file, const Tensors* tensors,
                         ExpertWeights experts) {
  WeightBytes sum;
  // The tensor, where its bytes are made of others; null otherwise.
  const auto made = [&](const std::string& name) -> const HostTensor* {
    if (tensors == nullptr) return nullptr;
    const auto found = tensors->find(name);
    return found != tensors->end() && found->second.source != nullptr ? &found->second : nullptr;
  };
  const auto add = [&](uint64_t bytes, uint64_t packed, bool is_made) {
    sum.canonical += bytes;
    if (packed > 0 || is_made) {
      sum.copied += packed > 0 ? packed : bytes;
    } else {
      sum.mapped += bytes;
    }
  };
  for (const WeightSpec& spec : weight_specs(config)) {
    const uint64_t elements = uint64_t(spec.elements());
    if (is_matrix(spec.use)) {
      const HostTensor* tensor = made(spec.name);
      const bool in_q8 = tensor != nullptr && holds_q8(*tensor);
      const MatrixUse use = matrix_use(spec.use);
      add(elements * dtype_bytes(DType::kBF16), sizes.matrix_bytes(spec.shape[0], spec.shape[1], use, in_q8),
          tensor != nullptr);
      sum.q8 |= sizes.becomes_q8(spec.shape[1], use, in_q8);
    } else if (is_mxfp4(spec.use) && experts == ExpertWeights::kBF16) {
      if (!is_blocks(spec.use)) continue;
      const HostTensor* tensor = tensors != nullptr ? bf16_experts_of(spec, *tensors) : nullptr;
      const uint64_t weights = elements / kMxBlockBytes * kMxBlock;
      add(weights * dtype_bytes(DType::kBF16), 0, tensor == nullptr || tensor->is_made());
    } else if (is_blocks(spec.use)) {
      const ExpertShape shape = expert_shape(spec);
      const uint64_t scales = elements / kMxBlockBytes;  // packed together with the blocks
      const uint64_t packed = experts_in_file ? 0 : sizes.experts_bytes(shape.experts, shape.rows, shape.cols);
      add(elements + scales, packed, !experts_in_file && made(spec.name) != nullptr);
    } else if (!is_mxfp4(spec.use)) {
      add(elements * dtype_bytes(DType::kBF16), sizes.vector_bytes(spec.elements()), false);
    }
  }
  return sum;
}

void pack_weights(std::span<const WeightSpec> specs, const Tensors& tensors, WeightPacker& packer, Model& model) {
  const HostTensor* bf16 = nullptr;  // then there are no blocks and scales
  const HostTensor* blocks = nullptr;
  const HostTensor* scales = nullptr;
  ExpertUse experts = ExpertUse::kGateUp;
  for (const WeightSpec& spec : specs) {
    if (is_blocks(spec.use)) bf16 = bf16_experts_of(spec, tensors);
    if (is_mxfp4(spec.use) && bf16 != nullptr) continue;
    const HostTensor& tensor = tensors.at(spec.name);
    const auto place = [&]<typename T>() -> T& { return std::get<T& (*)(Model&, int)>(spec.place)(model, spec.layer); };
    if (is_matrix(spec.use)) {
      place.operator()<Matrix>() = packer.pack_matrix(tensor, matrix_use(spec.use));
    } else if (is_blocks(spec.use)) {
      blocks = &tensor;
      experts = spec.use == WeightUse::kGateUp ? ExpertUse::kGateUp : ExpertUse::kDown;
    } else if (spec.use == WeightUse::kScales) {
      scales = &tensor;
    } else if (spec.use == WeightUse::kExpertBias) {
      place.operator()<ExpertMatrix>() = bf16 != nullptr ? packer.pack_bf16_experts(*bf16, tensor)
                                                         : packer.pack_experts(*blocks, *scales, tensor, experts);
    } else {
      place.operator()<Vector>() = packer.pack_vector(tensor);
    }
  }
}

Model pack_model(const Config& config, const Tensors& tensors, WeightPacker& packer,
                 const std::function<void(size_t, size_t)>& progress) {
  Model model;
  model.config = config;
  model.layers.resize(size_t(config.num_layers));
  const std::vector<WeightSpec> specs = weight_specs(config);
  for (auto begin = specs.begin(); begin != specs.end();) {
    auto end = begin;
    while (end != specs.end() && end->layer == begin->layer) ++end;
    if (begin->layer >= 0) progress(size_t(begin->layer), model.layers.size());
    pack_weights({begin, end}, tensors, packer, model);
    begin = end;
  }
  packer.loaded();
  progress(model.layers.size(), model.layers.size());
  return model;
}

}  // namespace oss
