#include "native/loader/shards.h"

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <set>
#include <utility>

#include "native/base/error.h"
#include "native/base/json.h"
#include "native/base/str.h"
#include "native/loader/json_file.h"

namespace oss {
namespace {

template <typename... Parts>
[[noreturn]] void fail(const Parts&... parts) {
  throw Error(Code::kModelFormat, str(parts...));
}

// model.safetensors.index.json: {"weight_map": {"TENSOR": "FILE NAME", ...}, "metadata": {...}}
class Index {
 public:
  explicit Index(const Location& location) : path_(location.index) {
    const Json json = read_json_file(path_);
    const Json* weight_map = json.find("weight_map");
    if (!weight_map || !weight_map->object())
      fail(path_, ": weight_map: expected an object, found ", weight_map ? weight_map->describe() : "nothing");
    for (const auto& [tensor, file] : *weight_map->object()) {
      if (!file.string())
        fail(path_, ": weight_map ", quote(tensor), ": expected a file name, found ", file.describe());
      file_of_.emplace(tensor, shard_path(location.folder, tensor, *file.string()));
    }
  }

  std::vector<std::string> files() const {
    std::set<std::string> unique;
    for (const auto& [tensor, file] : file_of_) unique.insert(file);
    return {unique.begin(), unique.end()};
  }

  void check_file(const SafetensorsFile& file) const {
    for (const auto& [name, tensor] : file.tensors) {
      const auto entry = file_of_.find(name);
      if (entry == file_of_.end()) fail(file.path, ": tensor ", quote(name), " is not in ", path_);
      if (entry->second != file.path)
        fail(file.path, ": tensor ", quote(name), ": ", path_, " has it in ", entry->second);
    }
  }

  void check_complete(const std::map<std::string, HostTensor>& tensors) const {
    for (const auto& [name, file] : file_of_)
      if (!tensors.contains(name)) fail(file, ": expected tensor ", quote(name), " as ", path_, " says, found none");
  }

 private:
  // The index may hold only file names: a path could reach outside the folder.
  std::string shard_path(const std::string& folder, const std::string& tensor, const std::string& name) const {
    if (name.find('/') != std::string::npos || name.find('\0') != std::string::npos || !name.ends_with(".safetensors"))
      fail(path_, ": weight_map ", quote(tensor), ": expected the name of a .safetensors file beside the index, found ",
           quote(name));
    const std::filesystem::path path = std::filesystem::path(folder) / name;
    std::error_code ignored;
    if (!std::filesystem::exists(path, ignored)) fail(path_, ": the shard ", quote(name), " is missing");
    return path.string();
  }

  std::string path_;
  std::map<std::string, std::string> file_of_;
};

void add_file(Shards& shards, SafetensorsFile file) {
  shards.file_bytes += file.mapping->size();
  for (auto& [name, tensor] : file.tensors) {
    const auto [place, fresh] = shards.tensors.try_emplace(name, std::move(tensor));
    if (!fresh) fail(file.path, ": tensor ", quote(name), " is in ", place->second.file, " too");
  }
  shards.files.push_back(std::move(file.mapping));
  std::move(file.copies.begin(), file.copies.end(), std::back_inserter(shards.copies));
}

}  // namespace

Shards read_shards(const Location& location, const std::function<bool()>& cancelled) {
  Shards shards;
  if (location.index.empty()) {
    for (const std::string& path : location.weights) add_file(shards, read_safetensors(path, cancelled));
    return shards;
  }
  const Index index(location);
  for (const std::string& path : index.files()) {
    SafetensorsFile file = read_safetensors(path, cancelled);
    index.check_file(file);
    add_file(shards, std::move(file));
  }
  index.check_complete(shards.tensors);
  return shards;
}

}  // namespace oss
