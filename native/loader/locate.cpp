#include "native/loader/locate.h"

#include <algorithm>
#include <filesystem>

#include "native/base/error.h"
#include "native/base/json.h"
#include "native/base/refused.h"
#include "native/base/str.h"
#include "native/loader/gguf_split.h"

namespace oss {
namespace {

namespace fs = std::filesystem;

constexpr char kWeightsSuffix[] = ".safetensors";
constexpr char kGgufSuffix[] = ".gguf";

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

Location of_gguf(const std::string& path) {
  Location location;
  location.folder = fs::path(path).parent_path().string();
  location.gguf = path;
  return location;
}

// The one model in GGUF of a folder; an empty path when there is none.
std::string gguf_in(const fs::path& folder) {
  std::string found;
  for (const std::string& path : files_ending_in(folder, kGgufSuffix)) {
    const std::string first = first_gguf_part(path);
    if (first == found) continue;
    if (!found.empty())
      throw Error(Code::kModelFormat,
                  str(folder.string(), ": expected one model, found ", quote(fs::path(found).filename().string()),
                      " and ", quote(fs::path(first).filename().string()), "; name the file"));
    found = first;
  }
  return found;
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
  if (is_gguf(file.string()) || file.extension() == kGgufSuffix) return of_gguf(file.string());
  if (!file.string().ends_with(kWeightsSuffix))
    throw Error(Code::kModelFormat,
                str(file.string(), ": expected a checkpoint folder, a ", kWeightsSuffix, " file or a GGUF file"));
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
    if (const std::string gguf = gguf_in(folder); !gguf.empty()) return of_gguf(gguf);
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
    // Publishers of GGUF files put the config of the original beside them.
    const std::string gguf = location.weights.empty() ? gguf_in(folder) : "";
    if (!gguf.empty()) return of_gguf(gguf);
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
                str("expected a checkpoint folder, a ", kWeightsSuffix, " file or a GGUF file at ",
                    path.empty() ? "\"\"" : path, ", found ", unreadable ? error.message() : "nothing"));
  }
  if (fs::is_directory(status)) return locate_folder(path);
  // Such a file is not opened: reading the first bytes of a named pipe would wait for a writer forever.
  if (!fs::is_regular_file(status))
    throw Error(Code::kModelFormat, str(path, " is neither a folder nor a regular file"));
  return locate_file(path);
}

}  // namespace oss
