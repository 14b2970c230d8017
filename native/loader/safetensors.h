// The safetensors container: bytes → named ranges. This file does not depend on gpt-oss.
//
//   u64 N, little-endian | N bytes of JSON, beginning with '{' | the data
//   {"NAME": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [begin, end]}, ..., "__metadata__": {"KEY": "VALUE"}}
//
// Offsets count from the end of the header. The ranges must tile the data: without overlaps, holes or bytes after the
// last one.
#pragma once
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "native/base/mapped_file.h"
#include "native/base/tensor.h"

namespace oss {

// A large buffer that does not move; aligned to 16 as operator new aligns. It is move-only, so that an owner of copies
// and of pointers into them cannot be copied by accident.
using AlignedCopy = std::unique_ptr<std::byte[]>;

struct SafetensorsFile {
  std::string path;
  std::shared_ptr<const MappedFile> mapping;
  std::map<std::string, HostTensor> tensors;  // data points into `mapping`, or into `copies`
  std::map<std::string, std::string> metadata;
  // The format lets a tensor begin at any byte. Tensors whose address is not a multiple of their element size are
  // copied here, so that all reads are aligned.
  std::vector<AlignedCopy> copies;
};

// Throws kModelFormat naming file, tensor, expected and found; kModelNotFound when the file cannot be opened;
// kCancelled when `cancelled`, called before each copy, returns true.
SafetensorsFile read_safetensors(const std::string& path, const std::function<bool()>& cancelled = {});

}  // namespace oss
