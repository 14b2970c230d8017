// Merged fine-tunes: transformers saves experts that are not quantised as `gate_up_proj` [experts, hidden, 2·intermediate]
// and `down_proj` [experts, intermediate, hidden], inputs first (modeling_gpt_oss.py, GptOssExperts). Their gate and up
// columns alternate, as the rows of MXFP4 experts do.
//
// MLX: mlx-lm's models/gpt_oss.py, sanitize(), keeps the bytes of MXFP4 blocks, views them as 32-bit words, and separates
// gate and up. Dense weights are bf16, or affine: native/checkpoint/affine_values.cpp.
#include "native/checkpoint/layout_hf_variants.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "native/base/error.h"
#include "native/base/float_values.h"
#include "native/base/json.h"
#include "native/base/str.h"
#include "native/checkpoint/bf16_experts.h"

namespace oss {
namespace {

bool any_ends_in(const Tensors& tensors, std::string_view ending) {
  return std::any_of(tensors.begin(), tensors.end(), [&](const auto& entry) { return entry.first.ends_with(ending); });
}

class Converter {
 public:
  Converter(const Config& config, StoredTensors& stored, ExpertWeights experts,
            std::shared_ptr<Conversions> conversions)
      : config_(config), stored_(stored), experts_(experts), conversions_(std::move(conversions)) {}

  Tensors convert() {
    for (const WeightSpec& spec : weight_specs(config_)) {
      if (is_blocks(spec.use)) {
        add_experts(spec);
      } else if (is_matrix(spec.use)) {
        out_[spec.name] = matrix(spec);
      } else if (!is_of_experts(spec.use)) {
        out_[spec.name] = converted_vector(stored_.take(spec.name, spec.shape));
      }
    }
    stored_.finish();
    return std::move(out_);
  }

 private:
  HostTensor matrix(const WeightSpec& spec) {
    const std::string base = spec.name.substr(0, spec.name.size() - std::string_view(".weight").size());
    if (!stored_.has(base + ".scales")) return converted_matrix(stored_.take(spec.name, spec.shape), conversions_);
    return affine_matrix(stored_.take_any_shape(spec.name), stored_.take_any_shape(base + ".scales"),
                         stored_.take_any_shape(base + ".biases"), spec.shape, conversions_);
  }

  void add_experts(const WeightSpec& spec) {
    const std::string name = experts_name(spec);
    const int64_t experts = spec.shape[0], rows = spec.shape[1], cols = spec.shape[2] * 32;
    Mxfp4Tensors weights;
    HostTensor bias;
    if (stored_.has(spec.name)) {
      weights.blocks = expect(stored_.take(spec.name, spec.shape), DType::kU8);
      weights.scales = expect(stored_.take(name + "_scales", {experts, rows, spec.shape[2]}), DType::kU8);
      bias = converted_vector(stored_.take(name + "_bias", {experts, rows}));
    } else if (stored_.has(name)) {
      const StoredTensor floats = stored_.take(name, {experts, cols, rows});
      if (!is_float(floats.data.dtype))
        throw Error(Code::kUnsupported,
                    str(floats.data.file, ": tensor ", quote(name),
                        ": expected MXFP4, BF16, F16 or F32 experts, found ", floats.data.stored_type()));
      out_[name + "_bias"] = converted_vector(stored_.take(name + "_bias", {experts, rows}));
      if (experts_ == ExpertWeights::kBF16) {
        out_[name] = bf16_experts(floats, ExpertOrder::kRowsOfInputs, conversions_);
      } else {
        add_mxfp4(name, quantized_experts(floats, ExpertOrder::kRowsOfInputs, conversions_));
      }
      return;
    } else if (spec.use == WeightUse::kDown) {
      weights = mlx_words(name, experts, rows, cols);
      bias = converted_vector(stored_.take(name + ".bias", {experts, rows}));
    } else {
      const std::string prefix = name.substr(0, name.size() - std::string_view("gate_up_proj").size());
      const Mxfp4Tensors gate = mlx_words(prefix + "gate_proj", experts, rows / 2, cols);
      const Mxfp4Tensors up = mlx_words(prefix + "up_proj", experts, rows / 2, cols);
      weights.blocks = interleaved_rows({gate.blocks, up.blocks}, 2);
      weights.scales = interleaved_rows({gate.scales, up.scales}, 1);
      bias = interleaved_rows({converted_vector(stored_.take(prefix + "gate_proj.bias", {experts, rows / 2})),
                               converted_vector(stored_.take(prefix + "up_proj.bias", {experts, rows / 2}))},
                              0);
    }
    out_[name + "_bias"] = std::move(bias);
    add_mxfp4(name, std::move(weights));
  }

  void add_mxfp4(const std::string& name, Mxfp4Tensors weights) {
    out_[name + "_blocks"] = std::move(weights.blocks);
    out_[name + "_scales"] = std::move(weights.scales);
  }

  // Words of 8 codes, the first in the lowest bits: on a little-endian machine, the bytes of the blocks.
  Mxfp4Tensors mlx_words(const std::string& name, int64_t experts, int64_t rows, int64_t cols) {
    HostTensor blocks = expect(stored_.take(name + ".weight", {experts, rows, cols / 8}), DType::kU32);
    HostTensor scales = expect(stored_.take(name + ".scales", {experts, rows, cols / 32}), DType::kU8);
    blocks.stored = "MXFP4 (U32)";
    blocks.dtype = DType::kU8;
    blocks.shape = {experts, rows, cols / 32, 16};
    return {std::move(blocks), std::move(scales)};
  }

  static HostTensor expect(const StoredTensor& tensor, DType dtype) {
    if (tensor.data.dtype != dtype)
      throw Error(Code::kModelShape, str(tensor.data.file, ": tensor ", quote(tensor.data.name), ": expected ",
                                         dtype_name(dtype), ", found ", tensor.data.stored_type()));
    return tensor.data;
  }

  const Config& config_;
  StoredTensors& stored_;
  const ExpertWeights experts_;
  const std::shared_ptr<Conversions> conversions_;
  Tensors out_;
};

}  // namespace

const char* hf_variant(const Tensors& tensors) {
  if (any_ends_in(tensors, ".mlp.experts.gate_proj.weight")) return "mlx";
  const bool floats =
      any_ends_in(tensors, ".mlp.experts.gate_up_proj") || any_ends_in(tensors, ".mlp.experts.down_proj");
  return floats ? "huggingface, bf16 experts" : "huggingface";
}

void refuse_other_quantization(const JsonReader& config, const Tensors& tensors) {
  if (!config.has("quantization_config") || any_ends_in(tensors, ".mlp.experts.gate_up_proj_blocks")) return;
  const JsonReader quantization = config.object("quantization_config");
  if (!quantization.has("quant_method")) return;
  const std::string method = quantization.string("quant_method");
  if (method == "mxfp4" || std::string_view(hf_variant(tensors)) != "huggingface") return;
  quantization.fail(Code::kUnsupported, "quant_method", "expected \"mxfp4\", found ", quote(method),
                    "; experts run as MXFP4 or as floats");
}

Tensors convert_hf_variant(const Config& config, const Tensors& tensors, ExpertWeights experts,
                           const std::string& where, const std::shared_ptr<Conversions>& conversions) {
  std::map<std::string, StoredTensor> all;
  for (const auto& [name, tensor] : tensors) all.emplace(name, StoredTensor{tensor, Packing::kPlain});
  StoredTensors stored(std::move(all), where);
  return Converter(config, stored, experts, conversions).convert();
}

}  // namespace oss
