#include "native/checkpoint/layout_gguf.h"

#include <algorithm>
#include <utility>

#include "native/base/json.h"
#include "native/checkpoint/bf16_experts.h"
#include "native/loader/gguf_split.h"
#include "native/model/weights.h"

namespace oss {
namespace {

constexpr char kAdvice[] =
    "; use a file whose experts are MXFP4, such as gpt-oss-20b-mxfp4.gguf, or the safetensors files";

// The names after "blk.N.", and the names that Ollama gave them before August 2025 (convert/convert_gptoss.go).
struct Name {
  const char* canonical;  // after "model.layers.N."
  const char* gguf;
  const char* ollama = "";
};
constexpr Name kNames[] = {
    {"input_layernorm.weight", "attn_norm.weight"},
    {"self_attn.q_proj.weight", "attn_q.weight"},
    {"self_attn.k_proj.weight", "attn_k.weight"},
    {"self_attn.v_proj.weight", "attn_v.weight"},
    {"self_attn.q_proj.bias", "attn_q.bias"},
    {"self_attn.k_proj.bias", "attn_k.bias"},
    {"self_attn.v_proj.bias", "attn_v.bias"},
    {"self_attn.sinks", "attn_sinks.weight", "attn_sinks"},
    {"self_attn.o_proj.weight", "attn_output.weight", "attn_out.weight"},
    {"self_attn.o_proj.bias", "attn_output.bias", "attn_out.bias"},
    {"post_attention_layernorm.weight", "post_attention_norm.weight", "ffn_norm.weight"},
    {"mlp.router.weight", "ffn_gate_inp.weight"},
    {"mlp.router.bias", "ffn_gate_inp.bias"},
    {"model.embed_tokens.weight", "token_embd.weight"},
    {"model.norm.weight", "output_norm.weight"},
    {"lm_head.weight", "output.weight"},
};

Packing packing_of(const GgufTensor& tensor) {
  switch (tensor.type->id) {
    case 0:
    case 1:
    case 30:
      return Packing::kPlain;
    case 4:  // the original order of OpenAI's files (ollama v0.11.0: convert/convert_gptoss.go)
      return Packing::kMxfp4Pairs;
    case 8:
      return Packing::kQ8;
    case 39:
      return Packing::kMxfp4Halves;
    default:
      return Packing::kOther;
  }
}

class Converter {
 public:
  Converter(const Config& config, StoredTensors& stored, ExpertWeights experts,
            std::shared_ptr<Conversions> conversions)
      : config_(config), stored_(stored), experts_(experts), conversions_(std::move(conversions)) {}

  Tensors convert() {
    split_fused();
    for (const WeightSpec& spec : weight_specs(config_)) {
      const std::string prefix = spec.layer < 0 ? "" : str("blk.", spec.layer, ".");
      if (is_blocks(spec.use)) {
        add_experts(spec, prefix);
      } else if (!is_of_experts(spec.use)) {
        const StoredTensor tensor = take(spec, prefix);
        out_[spec.name] = is_matrix(spec.use) ? converted_matrix(tensor, conversions_) : converted_vector(tensor);
      }
    }
    stored_.finish();
    return std::move(out_);
  }

 private:
  StoredTensor take(const WeightSpec& spec, const std::string& prefix) {
    const std::string layer = spec.layer < 0 ? "" : str("model.layers.", spec.layer, ".");
    for (const Name& name : kNames) {
      if (layer + name.canonical != spec.name) continue;
      if (*name.ollama == '\0') return stored_.take(prefix + name.gguf, spec.shape);
      return stored_.take({prefix + name.gguf, prefix + name.ollama}, spec.shape);
    }
    throw Error(Code::kInternal, str("no GGUF name for ", spec.name));
  }

  // Ollama's first files have q, k and v in one tensor (v0.11.0: convert/convert_gptoss.go).
  void split_fused() {
    const int64_t q = config_.q_size(), kv = config_.kv_size();
    for (int layer = 0; layer < config_.num_layers; ++layer) {
      const std::string prefix = str("blk.", layer, ".attn_");
      for (const char* what : {".weight", ".bias"}) {
        if (!stored_.has(prefix + "qkv" + what)) continue;
        std::vector<int64_t> shape = {q + 2 * kv};
        if (what == std::string_view(".weight")) shape.push_back(config_.hidden);
        const StoredTensor fused = stored_.take(prefix + "qkv" + what, shape);
        stored_.add(prefix + "q" + what, rows_of(fused, 0, q));
        stored_.add(prefix + "k" + what, rows_of(fused, q, kv));
        stored_.add(prefix + "v" + what, rows_of(fused, q + kv, kv));
      }
    }
  }

  Mxfp4Tensors mxfp4_of(const StoredTensor& stored) {
    if (stored.packing == Packing::kMxfp4Halves || stored.packing == Packing::kMxfp4Pairs)
      return converted_mxfp4(stored);
    if (stored.packing == Packing::kPlain) return quantized_experts(stored, ExpertOrder::kRowsOfOutputs, conversions_);
    throw Error(Code::kUnsupported,
                str(stored.data.file, ": tensor ", quote(stored.data.name),
                    ": expected MXFP4, BF16, F16 or F32 experts, found ", stored.data.stored_type(), kAdvice));
  }

  // One matrix of all experts, and its bias; `spec` is that of the blocks.
  void add_experts(const WeightSpec& spec, const std::string& prefix) {
    const std::string name = experts_name(spec);
    const int64_t experts = spec.shape[0], cols = spec.shape[2] * 32;
    const bool is_down = spec.use == WeightUse::kDown;
    const std::string whole = prefix + (is_down ? "ffn_down_exps" : "ffn_gate_up_exps");
    std::vector<std::string> names = {whole};  // gate and up in one tensor: Ollama's first files
    if (!is_down && !stored_.has(whole + ".weight")) names = {prefix + "ffn_gate_exps", prefix + "ffn_up_exps"};
    const int64_t rows = spec.shape[1] / int64_t(names.size());
    std::vector<StoredTensor> parts;
    std::vector<HostTensor> biases;
    for (const std::string& part : names) {
      parts.push_back(stored_.take(part + ".weight", {experts, rows, cols}));
      biases.push_back(converted_vector(stored_.take(part + ".bias", {experts, rows})));
    }
    out_[name + "_bias"] = joined(std::move(biases), 0);
    const bool are_floats = std::all_of(parts.begin(), parts.end(),
                                        [](const StoredTensor& part) { return part.packing == Packing::kPlain; });
    if (experts_ == ExpertWeights::kBF16 && are_floats) {
      std::vector<HostTensor> kept;
      for (const StoredTensor& part : parts) {
        kept.push_back(bf16_experts(part, ExpertOrder::kRowsOfOutputs, conversions_));
      }
      out_[name] = joined(std::move(kept), 1);
      return;
    }
    std::vector<HostTensor> blocks, scales;
    for (const StoredTensor& part : parts) {
      Mxfp4Tensors made = mxfp4_of(part);
      blocks.push_back(std::move(made.blocks));
      scales.push_back(std::move(made.scales));
    }
    out_[name + "_blocks"] = joined(std::move(blocks), 2);
    out_[name + "_scales"] = joined(std::move(scales), 1);
  }

  static HostTensor joined(std::vector<HostTensor> parts, size_t row_dimensions) {
    return parts.size() == 1 ? std::move(parts.front()) : interleaved_rows(std::move(parts), row_dimensions);
  }

  const Config& config_;
  StoredTensors& stored_;
  const ExpertWeights experts_;
  const std::shared_ptr<Conversions> conversions_;
  Tensors out_;
};

}  // namespace

std::unique_ptr<Checkpoint> open_gguf(const std::string& path, ExpertWeights experts) {
  GgufModel model = read_gguf_model(path);
  auto checkpoint = std::make_unique<Checkpoint>();
  std::map<std::string, StoredTensor> tensors;
  for (auto& [name, tensor] : model.tensors) {
    checkpoint->stored.push_back(tensor.data);
    tensors.emplace(name, StoredTensor{tensor.data, packing_of(tensor)});
  }
  StoredTensors stored(std::move(tensors), path);
  const GgufMetadata metadata(model.first);
  bool ollama = false;
  checkpoint->config = read_gguf_config(metadata, stored, ollama);
  check_config(checkpoint->config, model.first.path);
  remove_repeated(checkpoint->config.eos_tokens);
  check_gguf_vocabulary(metadata, checkpoint->config.vocab, ollama);
  checkpoint->conversions = std::make_shared<Conversions>();
  checkpoint->tensors = Converter(checkpoint->config, stored, experts, checkpoint->conversions).convert();
  checkpoint->path = path;
  checkpoint->layout = ollama ? "gguf (Ollama)" : "gguf";
  checkpoint->files = std::move(model.files);
  checkpoint->file_bytes = model.file_bytes;
  return checkpoint;
}

}  // namespace oss
