// Opens and checks a checkpoint: path → locate → config → shards → layout → scales; or makes a synthetic one.
#include <algorithm>
#include <filesystem>
#include <utility>

#include "native/base/error.h"
#include "native/base/json.h"
#include "native/base/machine.h"
#include "native/base/str.h"
#include "native/checkpoint/checkpoint.h"
#include "native/checkpoint/layout.h"
#include "native/checkpoint/layout_gguf.h"
#include "native/checkpoint/layout_hf_variants.h"
#include "native/checkpoint/synthetic.h"
#include "native/loader/json_file.h"
#include "native/loader/locate.h"
#include "native/loader/scales.h"
#include "native/loader/shards.h"

namespace oss {
namespace {

// generation_config.json lists more end tokens than config.json: [200002, 199999] against 200002.
void add_eos_tokens(Config& config, const std::string& path) {
  const Json json = read_json_file(path);
  for (int32_t token : JsonReader(path, json).token_ids("eos_token_id")) config.eos_tokens.push_back(token);
}

// Checks the MXFP4 scales in the files: "..._scales", and ".scales" of MLX.
void check_all_scales(Tensors& tensors, int threads, const std::function<bool()>& cancelled) {
  ThreadPool pool(threads > 0 ? threads : usable_threads().count, FewerThreads::kGoOn);
  for (auto& [name, tensor] : tensors) {
    if (name.ends_with("scales") && tensor.dtype == DType::kU8 && tensor.shape.size() == 3)
      tensor.greatest_scale = check_scales(tensor, pool, cancelled);
  }
}

}  // namespace

// Throws kUnsupported where experts are stored in MXFP4, and bf16 ones are wanted: they would take four times the memory
// for the same values.
static void expect_float_experts(const Checkpoint& checkpoint) {
  for (const WeightSpec& spec : weight_specs(checkpoint.config)) {
    const auto blocks = checkpoint.tensors.find(spec.name);
    if (!is_blocks(spec.use) || blocks == checkpoint.tensors.end()) continue;
    throw Error(Code::kUnsupported,
                str(blocks->second.file, ": tensor ", quote(blocks->second.name),
                    ": expertWeights \"bf16\" keeps experts that are stored as BF16, F16 or F32, found MXFP4; use "
                    "\"mxfp4\", which has the same values"),
                "expertWeights");
  }
}

void remove_repeated(std::vector<int32_t>& tokens) {
  std::vector<int32_t> unique;
  for (int32_t token : tokens)
    if (std::find(unique.begin(), unique.end(), token) == unique.end()) unique.push_back(token);
  tokens = std::move(unique);
}

void convert_all(const Checkpoint& checkpoint, int threads) {
  constexpr int64_t kPiece = 1 << 20;
  ThreadPool pool(threads > 0 ? threads : usable_threads().count, FewerThreads::kGoOn);
  for (const auto& [name, tensor] : checkpoint.tensors) {
    if (tensor.source == nullptr) continue;
    pool.parallel_for(int64_t(tensor.bytes), kPiece, [&](int64_t begin, int64_t end, int) {
      std::vector<std::byte> piece(kPiece);
      for (int64_t at = begin; at < end; at += kPiece)
        tensor.read(size_t(at), size_t(std::min(kPiece, end - at)), piece.data());
    });
  }
  for (const auto& file : checkpoint.files) {
    file->check();
    file->check_unchanged();
  }
}

// generation_config: path, or empty.
static Config read_config(const JsonReader& json, const Layout& layout, const std::string& generation_config) {
  Config config = layout.read_config(json);
  check_config(config, json.file());
  if (!generation_config.empty()) {
    add_eos_tokens(config, generation_config);
    check_config(config, generation_config);
  }
  remove_repeated(config.eos_tokens);
  return config;
}

const HostTensor& Checkpoint::tensor(const std::string& canonical_name) const {
  const auto found = tensors.find(canonical_name);
  if (found == tensors.end()) throw Error(Code::kInternal, str(path, ": no tensor ", quote(canonical_name)));
  return found->second;
}

// check_scales: of the tensors in the files; null: they are not checked.
static std::unique_ptr<Checkpoint> open_checkpoint(const std::string& path, const std::function<bool()>& cancelled,
                                                   ExpertWeights experts,
                                                   const std::function<void(Tensors&)>& check_scales) {
  if (is_synthetic(path)) return synthetic_checkpoint(path, experts);
  const Location location = locate_checkpoint(path);
  if (!location.gguf.empty()) {
    auto checkpoint = open_gguf(location.gguf, experts);
    checkpoint->path = path;
    if (experts == ExpertWeights::kBF16) expect_float_experts(*checkpoint);
    return checkpoint;
  }
  const Json config_json = read_json_file(location.config);
  const JsonReader config_reader(location.config, config_json);
  const Layout& layout = layout_of(config_reader);

  auto checkpoint = std::make_unique<Checkpoint>();
  const Config& config = checkpoint->config = read_config(config_reader, layout, location.generation_config);

  Shards shards = read_shards(location, cancelled);
  checkpoint->path = path;
  checkpoint->layout = layout.name;
  checkpoint->file_bytes = shards.file_bytes;
  checkpoint->files = std::move(shards.files);
  checkpoint->copies = std::move(shards.copies);
  if (&layout == &kHuggingFaceLayout) {
    refuse_other_quantization(config_reader, shards.tensors);
    checkpoint->layout = hf_variant(shards.tensors);
  }
  if (checkpoint->layout != layout.name) {
    checkpoint->conversions = std::make_shared<Conversions>();
    if (check_scales) check_scales(shards.tensors);
    checkpoint->tensors = convert_hf_variant(config, shards.tensors, experts, location.folder, checkpoint->conversions);
    if (experts == ExpertWeights::kBF16) expect_float_experts(*checkpoint);
    for (const auto& [name, tensor] : shards.tensors) checkpoint->stored.push_back(tensor);
    return checkpoint;
  }
  const std::vector<WeightSpec> specs = layout.file_specs(config);
  check_weights(specs, shards.tensors, location.folder);
  checkpoint->tensors = layout.canonical(config, std::move(shards.tensors));
  if (experts == ExpertWeights::kBF16) expect_float_experts(*checkpoint);
  if (check_scales) check_scales(checkpoint->tensors);
  return checkpoint;
}

std::unique_ptr<Checkpoint> open_checkpoint(const std::string& path, const std::function<bool()>& cancelled,
                                            int threads, ExpertWeights experts) {
  return open_checkpoint(path, cancelled, experts,
                         [&](Tensors& tensors) { check_all_scales(tensors, threads, cancelled); });
}

// The config of a folder; null where it has none.
static std::unique_ptr<Checkpoint> config_alone(const std::string& path) {
  namespace fs = std::filesystem;
  if (path.find('\0') != std::string::npos) return nullptr;
  for (const fs::path& folder : {fs::path(path), fs::path(path) / "original"}) {
    const std::string file = (folder / "config.json").string();
    std::error_code absent;
    if (!fs::is_regular_file(file, absent)) continue;
    const Json json = read_json_file(file);
    const JsonReader reader(file, json);
    const Layout& layout = layout_of(reader);
    auto checkpoint = std::make_unique<Checkpoint>();
    checkpoint->path = path;
    checkpoint->layout = layout.name;
    checkpoint->config = read_config(reader, layout, "");
    return checkpoint;
  }
  return nullptr;
}

std::unique_ptr<Checkpoint> open_headers(const std::string& path, ExpertWeights experts) {
  try {
    return open_checkpoint(path, {}, experts, nullptr);
  } catch (const Error& error) {
    // A download can be under way, or a clone of a repository can have pointers in place of the weights.
    if (error.code() != Code::kModelNotFound && error.code() != Code::kModelFormat) throw;
    auto checkpoint = config_alone(path);
    if (checkpoint == nullptr) throw;
    return checkpoint;
  }
}

}  // namespace oss
