// A checkpoint on disk, opened: its config and its tensors under canonical names, all checked, nothing read but headers
// and MXFP4 scales.
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "native/base/tensor.h"
#include "native/loader/safetensors.h"
#include "native/model/config.h"

namespace oss {

struct Checkpoint {
  std::string path;
  std::string layout;  // "huggingface" | "original" | "synthetic"
  Config config;
  // Canonical names are those of the Hugging Face layout, e.g. "model.layers.0.self_attn.q_proj.weight". The original
  // layout's fused qkv appears as three row ranges of one tensor.
  std::map<std::string, HostTensor> tensors;
  std::vector<std::shared_ptr<const MappedFile>> files;
  std::vector<AlignedCopy> copies;  // tensors whose offset in the file is not a multiple of their element
  uint64_t file_bytes = 0;          // of the .safetensors files together; of all tensors when there is no file

  const HostTensor& tensor(const std::string& canonical_name) const;
};

// Opens and checks a checkpoint folder. Everything that can be wrong is found here: the tensors are exactly those that
// the config asks for, with the right shapes and dtypes, and every MXFP4 scale is sane.
// "synthetic:20b" and the like are no folder: their tensors have no data, only how to make it (native/base/synthetic_tensor.h).
// Throws Error kModelNotFound, kModelFormat, kModelShape or kUnsupported with a sentence that names file, tensor,
// expected and found; or kCancelled when `cancelled` returns true. It checks with so many threads, or with those that the
// system gives; 0: as many as help.
std::unique_ptr<Checkpoint> open_checkpoint(const std::string& path, const std::function<bool()>& cancelled = {},
                                            int threads = 0);

}  // namespace oss
