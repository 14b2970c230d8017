#include "test/native/checkpoint_files.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <utility>

#include "native/loader/safetensors.h"

namespace oss::test {

namespace fs = std::filesystem;

TempFolder::TempFolder() {
  std::string pattern = (fs::temp_directory_path() / "oss-test-XXXXXX").string();
  if (!mkdtemp(pattern.data())) throw std::runtime_error("cannot make " + pattern);
  path_ = fs::canonical(pattern).string();
}

TempFolder::~TempFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

std::string read_bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write_bytes(const std::string& path, const std::string& bytes) {
  fs::create_directories(fs::path(path).parent_path());
  // Written in place where the size allows. When a file is truncated and rewritten, ext4 sends it to the disk at once,
  // here 20,000 times.
  std::error_code absent;
  const bool in_place = fs::file_size(path, absent) == bytes.size() && !absent;
  std::ofstream file(path, std::ios::binary | (in_place ? std::ios::in : std::ios::trunc));
  file.write(bytes.data(), std::streamsize(bytes.size()));
  if (!file.flush()) throw std::runtime_error("cannot write " + path);
}

std::string safetensors_of(const std::string& header, const std::string& data) {
  std::string length(8, '\0');
  for (int i = 0; i < 8; ++i) length[size_t(i)] = char(uint64_t(header.size()) >> (8 * i));
  return length + header + data;
}

std::string safetensors_of(const std::vector<StoredTensor>& tensors, size_t misalignment) {
  std::string header = "{", data;
  for (const StoredTensor& tensor : tensors) {
    header += str(header.size() > 1 ? "," : "", '"', tensor.name, "\":{\"dtype\":\"", dtype_name(tensor.dtype),
                  "\",\"shape\":", str_shape(tensor.shape), ",\"data_offsets\":[", data.size(), ",",
                  data.size() + tensor.bytes.size(), "]}");
    data += tensor.bytes;
  }
  header += '}';
  header.resize((header.size() + 7) / 8 * 8 + misalignment, ' ');
  return safetensors_of(header, data);
}

StoredTensor& StoredModel::tensor(const std::string& name) {
  for (StoredTensor& tensor : tensors)
    if (tensor.name == name) return tensor;
  throw std::runtime_error("the model has no tensor " + name);
}

void StoredModel::remove(const std::string& name) {
  std::erase_if(tensors, [&](const StoredTensor& tensor) { return tensor.name == name; });
}

void StoredModel::write(const std::string& folder, size_t misalignment) const {
  write_bytes(folder + "/config.json", config);
  write_bytes(folder + "/model.safetensors", safetensors_of(tensors, misalignment));
}

std::string golden_model(const std::string& name) { return source_path("test/golden/models/" + name); }

StoredModel read_golden_model(const std::string& name) {
  StoredModel model;
  model.config = read_bytes(golden_model(name) + "/config.json");
  std::vector<std::string> files;
  for (const auto& entry : fs::directory_iterator(golden_model(name)))
    if (entry.path().extension() == ".safetensors") files.push_back(entry.path().string());
  std::sort(files.begin(), files.end());
  for (const std::string& path : files)
    for (const auto& [tensor_name, tensor] : read_safetensors(path).tensors)
      model.tensors.push_back({tensor_name, tensor.dtype, tensor.shape, std::string(tensor.as<char>(), tensor.bytes)});
  return model;
}

// A copy of the list in test/oracle, on purpose: the loader's own table must not be the reference of its test.
StoredModel to_original_layout(const StoredModel& huggingface, const std::string& config) {
  static const std::map<std::string, std::string> kNames = {
      {"model.embed_tokens.weight", "embedding.weight"},
      {"model.norm.weight", "norm.scale"},
      {"lm_head.weight", "unembedding.weight"},
      {"input_layernorm.weight", "attn.norm.scale"},
      {"self_attn.sinks", "attn.sinks"},
      {"self_attn.o_proj.weight", "attn.out.weight"},
      {"self_attn.o_proj.bias", "attn.out.bias"},
      {"post_attention_layernorm.weight", "mlp.norm.scale"},
      {"mlp.router.weight", "mlp.gate.weight"},
      {"mlp.router.bias", "mlp.gate.bias"},
      {"mlp.experts.gate_up_proj_blocks", "mlp.mlp1_weight.blocks"},
      {"mlp.experts.gate_up_proj_scales", "mlp.mlp1_weight.scales"},
      {"mlp.experts.gate_up_proj_bias", "mlp.mlp1_bias"},
      {"mlp.experts.down_proj_blocks", "mlp.mlp2_weight.blocks"},
      {"mlp.experts.down_proj_scales", "mlp.mlp2_weight.scales"},
      {"mlp.experts.down_proj_bias", "mlp.mlp2_bias"},
  };
  StoredModel original{config, {}};
  std::map<std::string, std::array<StoredTensor, 3>> fused;  // "block.0.attn.qkv.bias" → q, k, v
  for (const StoredTensor& tensor : huggingface.tensors) {
    std::string prefix, rest = tensor.name;
    if (rest.starts_with("model.layers.")) {
      rest = rest.substr(13);
      prefix = "block." + rest.substr(0, rest.find('.') + 1);
      rest = rest.substr(rest.find('.') + 1);
    }
    const size_t part =
        std::string("qkv").find(rest.starts_with("self_attn.") && rest.substr(11, 6) == "_proj." ? rest[10] : '-');
    if (part != std::string::npos) {
      fused[prefix + "attn.qkv." + rest.substr(17)][part] = tensor;
    } else {
      original.tensors.push_back(tensor);
      original.tensors.back().name = prefix + kNames.at(rest);
    }
  }
  for (auto& [name, parts] : fused) {
    StoredTensor whole = parts[0];
    whole.name = name;
    for (size_t i : {1, 2}) {
      whole.shape[0] += parts[i].shape[0];
      whole.bytes += parts[i].bytes;
    }
    original.tensors.push_back(std::move(whole));
  }
  return original;
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  if (at == std::string::npos || text.find(from, at + 1) != std::string::npos)
    fail(__FILE__, __LINE__, str("expected one ", from, " in ", text));
  return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

void expect_error(const std::string& name, Code code, const std::string& part, const std::function<void()>& action) {
  try {
    action();
    fail(__FILE__, __LINE__, str(name, ": expected ", code_name(code), " with \"", part, "\", nothing was thrown"));
  } catch (const Error& error) {
    if (error.code() != code || std::string(error.what()).find(part) == std::string::npos)
      fail(__FILE__, __LINE__,
           str(name, ": expected ", code_name(code), " with \"", part, "\", got ", code_name(error.code()), ": ",
               error.what()));
  }
}

void expect_success(const std::string& name, const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    fail(__FILE__, __LINE__, str(name, ": ", code_name(error.code()), ": ", error.what()));
  }
}

}  // namespace oss::test
