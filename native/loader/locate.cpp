#include "native/loader/locate.h"

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "native/base/error.h"
#include "native/base/refused.h"
#include "native/base/str.h"

namespace oss {
namespace {

namespace fs = std::filesystem;

constexpr char kWeightsSuffix[] = ".safetensors";
constexpr char kGgufAdvice[] =
    "GGUF files do not run yet; use the Hugging Face or the original/ checkpoint (.safetensors)";

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

// Returns the files sorted by name. Hidden files are not weights: macOS leaves "._model.safetensors" on foreign disks.
std::vector<std::string> files_ending_in(const fs::path& folder, const std::string& suffix) {
  std::vector<std::string> paths;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (name.ends_with(suffix) && name[0] != '.') paths.push_back(entry->path().string());
  }
  if (error) throw refused_file("list", folder.string(), error.value());
  std::sort(paths.begin(), paths.end());
  return paths;
}

bool is_gguf(const fs::path& file) {
  char magic[4] = {};
  std::ifstream(file, std::ios::binary).read(magic, sizeof magic);
  return file.extension() == ".gguf" || std::string(magic, sizeof magic) == "GGUF";
}

Location with_configs(const fs::path& folder) {
  const fs::path config = folder / "config.json", generation = folder / "generation_config.json";
  Location location;
  location.folder = folder.string();
  location.config = config.string();
  if (is_there(generation)) location.generation_config = generation.string();
  return location;
}

Location locate_file(const fs::path& file) {
  if (is_gguf(file)) throw Error(Code::kUnsupported, str(file.string(), ": ", kGgufAdvice));
  if (!file.string().ends_with(kWeightsSuffix))
    throw Error(Code::kModelFormat,
                str(file.string(), ": expected a checkpoint folder or a ", kWeightsSuffix, " file"));
  Location location = with_configs(file.parent_path());
  if (!is_there(location.config))
    throw Error(Code::kModelNotFound, str("expected a config.json beside ", file.string(), ", found none"));
  location.weights = {file.string()};
  return location;
}

Location locate_folder(const fs::path& folder) {
  Location location = with_configs(folder);
  if (!is_there(location.config)) {
    if (is_there(folder / "original" / "config.json")) return locate_folder(folder / "original");
    if (!files_ending_in(folder, ".gguf").empty())
      throw Error(Code::kUnsupported, str(folder.string(), ": ", kGgufAdvice));
    throw Error(Code::kModelNotFound, str("expected a config.json in ", folder.string(), ", found none"));
  }
  // The order of transformers: a single file takes precedence over an index.
  const fs::path single = folder / "model.safetensors", index = folder / "model.safetensors.index.json";
  if (is_there(single)) {
    location.weights = {single.string()};
  } else if (is_there(index)) {
    location.index = index.string();
  } else {
    location.weights = files_ending_in(folder, kWeightsSuffix);
    if (location.weights.empty())
      throw Error(Code::kModelNotFound,
                  str("expected ", kWeightsSuffix, " files in ", folder.string(), ", found none"));
  }
  return location;
}

}  // namespace

Location locate_checkpoint(const std::string& path) {
  // The system would open the part before the zero byte.
  if (path.find('\0') != std::string::npos)
    throw Error(Code::kModelNotFound, "a path with a NUL character in it leads nowhere");
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::exists(status)) {
    const bool unreadable = status.type() == fs::file_type::none;
    throw Error(Code::kModelNotFound,
                str("expected a checkpoint folder or a ", kWeightsSuffix, " file at ", path.empty() ? "\"\"" : path,
                    ", found ", unreadable ? error.message() : "nothing"));
  }
  if (fs::is_directory(status)) return locate_folder(path);
  // Such a file is not opened: reading the first bytes of a named pipe would wait for a writer forever.
  if (!fs::is_regular_file(status))
    throw Error(Code::kModelFormat, str(path, " is neither a folder nor a regular file"));
  return locate_file(path);
}

}  // namespace oss
