// A model in GGUF: one file, or the parts of a split one, NAME-00001-of-0000N.gguf.
#pragma once
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "native/loader/gguf.h"

namespace oss {

struct GgufModel {
  GgufFile first;                             // its metadata is that of the model; its tensors are in `tensors`
  std::map<std::string, GgufTensor> tensors;  // of all parts
  std::vector<std::shared_ptr<const MappedFile>> files;
  uint64_t file_bytes = 0;
};

// `path` is the file, or any part. Throws as read_gguf, kModelNotFound for a missing part, and kModelFormat for parts
// that do not belong together.
GgufModel read_gguf_model(const std::string& path);

// The path of the first part, when `path` is named like a part; else `path`.
std::string first_gguf_part(const std::string& path);

}  // namespace oss
