// The .safetensors files of one checkpoint, read as one set of tensors.
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "native/loader/locate.h"
#include "native/loader/safetensors.h"

namespace oss {

struct Shards {
  std::map<std::string, HostTensor> tensors;
  std::vector<std::shared_ptr<const MappedFile>> files;
  std::vector<AlignedCopy> copies;
  uint64_t file_bytes = 0;
};

// Throws kModelFormat when a tensor is in two files, or when the index and the files disagree.
Shards read_shards(const Location& location, const std::function<bool()>& cancelled);

}  // namespace oss
