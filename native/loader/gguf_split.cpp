#include "native/loader/gguf_split.h"

#include <cstdio>
#include <filesystem>
#include <optional>
#include <utility>

#include "native/base/error.h"
#include "native/base/json.h"
#include "native/base/str.h"
#include "native/loader/gguf_metadata.h"

namespace oss {
namespace {

constexpr char kNumber[] = "split.no", kCount[] = "split.count", kTensors[] = "split.tensors.count";
constexpr int64_t kMostParts = 65535;  // the type of the key

// What a name like "gpt-oss-120b-00002-of-00003.gguf" says.
struct PartName {
  std::string prefix;  // with the folder
  int number = 0, count = 0;

  std::string path(int64_t part) const {
    char ending[64];
    std::snprintf(ending, sizeof ending, "-%05d-of-%05d.gguf", int(part), count);
    return prefix + ending;
  }
};

std::optional<PartName> part_name(const std::string& path) {
  constexpr size_t kEnding = sizeof "-00001-of-00001.gguf" - 1;
  if (path.size() <= kEnding) return {};
  PartName name;
  name.prefix = path.substr(0, path.size() - kEnding);
  if (std::sscanf(path.c_str() + name.prefix.size(), "-%5d-of-%5d.gguf", &name.number, &name.count) != 2) return {};
  if (name.number < 1 || name.count < 1 || name.path(name.number) != path) return {};
  return name;
}

int64_t part_number(const GgufMetadata& metadata) { return metadata.integer(kNumber, 0, kMostParts - 1); }

int64_t part_count(const GgufFile& file) {
  const GgufMetadata metadata(file);
  return metadata.has(kCount) ? metadata.integer(kCount, 0, kMostParts) : 1;
}

void add(GgufModel& model, GgufFile& file) {
  model.file_bytes += file.mapping->size();
  model.files.push_back(file.mapping);
  for (auto& [name, tensor] : file.tensors) {
    const auto [place, fresh] = model.tensors.try_emplace(name, std::move(tensor));
    if (!fresh)
      throw Error(Code::kModelFormat,
                  str(file.path, ": tensor ", quote(name), " is in ", place->second.data.file, " too"));
  }
}

GgufFile read_part(const PartName& name, int64_t number, int64_t count) {
  const std::string path = name.path(number);
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored))
    throw Error(Code::kModelNotFound, str("expected part ", number, " of ", count, " at ", path, ", found nothing"));
  GgufFile file = read_gguf(path);
  const GgufMetadata metadata(file);
  if (part_count(file) != count)
    metadata.fail(Code::kModelFormat, kCount, "expected ", count, " parts as its name says, found ", part_count(file));
  if (part_number(metadata) != number - 1)
    metadata.fail(Code::kModelFormat, kNumber, "expected part ", number - 1, " as its name says, found ",
                  part_number(metadata));
  return file;
}

}  // namespace

std::string first_gguf_part(const std::string& path) {
  const auto name = part_name(path);
  return name ? name->path(1) : path;
}

GgufModel read_gguf_model(const std::string& path) {
  GgufModel model;
  GgufFile named = read_gguf(path);
  const int64_t count = part_count(named);
  if (count <= 1) {
    add(model, named);
    model.first = std::move(named);
    return model;
  }
  const auto name = part_name(path);
  if (!name || name->count != count)
    throw Error(Code::kModelFormat, str(path, ": this is part ", part_number(GgufMetadata(named)) + 1, " of ", count,
                                        ": expected a name that ends in \"",
                                        PartName{"", 1, int(count)}.path(part_number(GgufMetadata(named)) + 1),
                                        "\", beside the other parts"));
  for (int64_t number = 1; number <= count; ++number) {
    GgufFile file = read_part(*name, number, count);
    add(model, file);
    if (number == 1) model.first = std::move(file);
  }
  const GgufMetadata metadata(model.first);
  if (metadata.has(kTensors)) {
    const int64_t expected = metadata.integer(kTensors, 0, int64_t(1) << 31);
    if (uint64_t(expected) != model.tensors.size())
      metadata.fail(Code::kModelFormat, kTensors, "expected ", expected, " tensors in ", count, " parts, found ",
                    model.tensors.size());
  }
  return model;
}

}  // namespace oss
