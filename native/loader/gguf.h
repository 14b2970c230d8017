// The GGUF container, version 3: bytes → metadata and named ranges. This file does not depend on gpt-oss.
//
//   "GGUF" | u32 version | u64 tensors | u64 values
//   values:   string key | u32 type | the value        string: u64 bytes, then UTF-8    list: u32 type, u64 count, items
//   tensors:  string name | u32 dimensions | u64 extents, the fastest first | u32 type | u64 offset
//   padding to `general.alignment` (32 unless it is given) | the data; offsets count from here
//
// All numbers are little-endian. Only the header is read. Nothing is allocated for a count before so many bytes of the
// file have been seen.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "native/base/mapped_file.h"
#include "native/base/tensor.h"
#include "native/loader/gguf_types.h"

namespace oss {

// A value of the metadata, still in the file: `bytes` are its items, without type and count.
struct GgufValue {
  uint32_t type = 0;  // of the value, or of the items of a list
  bool is_list = false;
  uint64_t count = 1;      // items
  std::string_view bytes;  // in the mapped file
};

struct GgufTensor {
  const GgufType* type = nullptr;
  HostTensor data;  // shape: the slowest dimension first; dtype: U8 for types of blocks
};

struct GgufFile {
  std::string path;
  std::shared_ptr<const MappedFile> mapping;
  std::map<std::string, GgufValue> values;
  std::map<std::string, GgufTensor> tensors;
};

// Throws kModelFormat naming file, tensor or key, expected and found. Throws kUnsupported for other versions, for
// big-endian files and for element types that the table does not have; kModelNotFound when the file cannot be opened.
GgufFile read_gguf(const std::string& path);

// Whether the file begins like a GGUF file. False for anything that is not a regular file.
bool is_gguf(const std::string& path);

}  // namespace oss
