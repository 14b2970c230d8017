// Finds the files of a checkpoint at a path.
#pragma once
#include <string>
#include <vector>

namespace oss {

struct Location {
  std::string folder;
  std::string config;                // path of config.json
  std::string generation_config;     // path, empty when absent
  std::string index;                 // path of model.safetensors.index.json, empty when it does not apply
  std::vector<std::string> weights;  // paths of the .safetensors files; empty when the index names them
  std::string gguf;                  // path of a GGUF file, or of the first of its parts; then all others are empty
};

// `path` is a checkpoint folder, a folder that holds only original/, one .safetensors file beside its config.json, a
// GGUF file of any name, or a folder with one model in GGUF. Throws kModelNotFound or kModelFormat.
Location locate_checkpoint(const std::string& path);

}  // namespace oss
