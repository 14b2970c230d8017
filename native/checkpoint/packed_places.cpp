#include "native/checkpoint/packed_places.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "native/base/str.h"

namespace oss {

// Greater whenever a conversion gives other bytes than before: packed files of earlier versions are then made again.
constexpr uint64_t kConversionVersion = 1;

// FNV-1a.
static void add(uint64_t& sum, const void* data, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i) sum = (sum ^ static_cast<const unsigned char*>(data)[i]) * 0x100000001B3u;
}

uint64_t fingerprint(const Checkpoint& checkpoint) {
  uint64_t sum = 0xCBF29CE484222325u;
  const auto add_number = [&](uint64_t number) { add(sum, &number, sizeof number); };
  for (const auto& file : checkpoint.files) {
    const std::string name = std::filesystem::path(file->path()).filename().string();
    add(sum, name.data(), name.size() + 1);
    add_number(file->size());
    struct stat status{};
    if (::stat(file->path().c_str(), &status) == 0) {
#if defined(__APPLE__)
      const timespec modified = status.st_mtimespec;
#else
      const timespec modified = status.st_mtim;
#endif
      add_number(uint64_t(modified.tv_sec));
      add_number(uint64_t(modified.tv_nsec));
    }
    char header[4096];
    const size_t bytes = std::min(file->size(), sizeof header);
    file->read(0, bytes, header);
    add(sum, header, bytes);
  }
  add_number(checkpoint.merged);
  const auto add_tensor = [&](const std::string& name, const HostTensor& tensor) {
    add(sum, name.data(), name.size() + 1);
    for (const int64_t extent : tensor.shape) add_number(uint64_t(extent));
    if (tensor.is_made()) return;
    char sample[64];
    const size_t bytes = std::min(tensor.bytes, sizeof sample);
    tensor.read((tensor.bytes - bytes) / 2, bytes, sample);
    add(sum, sample, bytes);
  };
  for (const auto& [name, tensor] : checkpoint.tensors) add_tensor(name, tensor);
  if (checkpoint.stored.empty()) return sum;
  // The bytes of converted tensors follow from those of the files, and from the conversion.
  add_number(kConversionVersion);
  add(sum, checkpoint.layout.data(), checkpoint.layout.size() + 1);
  for (const HostTensor& tensor : checkpoint.stored) add_tensor(tensor.name, tensor);
  return sum;
}

std::vector<std::string> packed_places(const Checkpoint& checkpoint, const std::string& wanted) {
  if (wanted == "memory" || checkpoint.files.empty()) return {};
  char name[64];
  std::snprintf(name, sizeof name, "experts-%016llx.packed", static_cast<unsigned long long>(fingerprint(checkpoint)));
  if (wanted != "auto") return {(std::filesystem::path(wanted) / name).string()};
  std::vector<std::string> places;
  const std::filesystem::path file = checkpoint.files.front()->path();
  places.push_back((file.parent_path() / ".gpt-oss-node" / name).string());
  const char* cache = std::getenv("XDG_CACHE_HOME");
  const char* home = std::getenv("HOME");
  if (cache != nullptr && *cache == '/') {
    places.push_back((std::filesystem::path(cache) / "gpt-oss-node" / name).string());
  } else if (home != nullptr && *home == '/') {
    places.push_back((std::filesystem::path(home) / ".cache" / "gpt-oss-node" / name).string());
  }
  return places;
}

}  // namespace oss
