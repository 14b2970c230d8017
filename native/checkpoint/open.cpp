// Opens and checks a checkpoint: path → locate → config → shards → layout → scales; or makes a synthetic one.
#include <algorithm>
#include <utility>

#include "native/base/error.h"
#include "native/base/json.h"
#include "native/base/machine.h"
#include "native/base/str.h"
#include "native/checkpoint/checkpoint.h"
#include "native/checkpoint/layout.h"
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

void remove_repeated(std::vector<int32_t>& tokens) {
  std::vector<int32_t> unique;
  for (int32_t token : tokens)
    if (std::find(unique.begin(), unique.end(), token) == unique.end()) unique.push_back(token);
  tokens = std::move(unique);
}

}  // namespace

const HostTensor& Checkpoint::tensor(const std::string& canonical_name) const {
  const auto found = tensors.find(canonical_name);
  if (found == tensors.end()) throw Error(Code::kInternal, str(path, ": no tensor ", quote(canonical_name)));
  return found->second;
}

std::unique_ptr<Checkpoint> open_checkpoint(const std::string& path, const std::function<bool()>& cancelled,
                                            int threads) {
  if (is_synthetic(path)) return synthetic_checkpoint(path);
  const Location location = locate_checkpoint(path);
  const Json config_json = read_json_file(location.config);
  const JsonReader config_reader(location.config, config_json);
  const Layout& layout = layout_of(config_reader);

  auto checkpoint = std::make_unique<Checkpoint>();
  Config& config = checkpoint->config;
  config = layout.read_config(config_reader);
  check_config(config, location.config);
  if (!location.generation_config.empty()) {
    add_eos_tokens(config, location.generation_config);
    check_config(config, location.generation_config);
  }
  remove_repeated(config.eos_tokens);

  Shards shards = read_shards(location, cancelled);
  const std::vector<WeightSpec> specs = layout.file_specs(config);
  check_weights(specs, shards.tensors, location.folder);
  ThreadPool pool(threads > 0 ? threads : usable_threads().count, FewerThreads::kGoOn);
  for (const WeightSpec& spec : specs) {
    if (spec.use != WeightUse::kScales) continue;
    HostTensor& scales = shards.tensors.at(spec.name);
    scales.greatest_scale = check_scales(scales, pool, cancelled);
  }

  checkpoint->path = path;
  checkpoint->layout = layout.name;
  checkpoint->tensors = layout.canonical(config, std::move(shards.tensors));
  checkpoint->files = std::move(shards.files);
  checkpoint->copies = std::move(shards.copies);
  checkpoint->file_bytes = shards.file_bytes;
  return checkpoint;
}

}  // namespace oss
