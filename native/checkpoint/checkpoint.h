// An opened checkpoint: its config and its tensors under canonical names, all checked. Only headers and MXFP4 scales
// are read.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "native/base/tensor.h"
#include "native/checkpoint/conversions.h"
#include "native/loader/safetensors.h"
#include "native/model/config.h"
#include "native/model/weights.h"

namespace oss {

struct Checkpoint {
  std::string path;
  // "huggingface" | "huggingface, bf16 experts" | "original" | "mlx" | "gguf" | "gguf (Ollama)" | "synthetic"
  std::string layout;
  Config config;
  // Canonical names are the names of the Hugging Face layout, e.g. "model.layers.0.self_attn.q_proj.weight". The
  // original layout's fused qkv appears as three row ranges of one tensor.
  Tensors tensors;
  std::vector<std::shared_ptr<const MappedFile>> files;
  std::vector<AlignedCopy> copies;  // tensors whose offset in the file is not a multiple of their element size
  uint64_t file_bytes = 0;          // size of all weight files; without files, of all tensors
  // Where tensors are converted: those of the files, and what the conversion changed so far.
  std::vector<HostTensor> stored;
  std::shared_ptr<Conversions> conversions;
  uint64_t merged = 0;  // changes with the adapters that are merged into the tensors; 0: none

  const HostTensor& tensor(const std::string& canonical_name) const;
};

// Opens and checks a checkpoint folder. All faults are found here: the tensors must be exactly the ones that the config
// requires, with the right shapes and dtypes, and every MXFP4 scale must be in range. The scales of converted tensors are
// checked when they are read: opening a GGUF file reads its header only. A path such as "synthetic:20b" is
// not a folder: its tensors hold no data, only how to make it (native/base/synthetic_tensor.h). Throws kModelNotFound,
// kModelFormat, kModelShape or kUnsupported with a sentence that names file, tensor, expected and found; or kCancelled
// when `cancelled` returns true. The check uses `threads` threads, or fewer if the system gives fewer; 0: as many as
// help.
// experts: the format of those that are stored as floats, which is also that of synthetic ones. With kBF16 it throws
// kUnsupported for a checkpoint with experts that are stored in MXFP4.
std::unique_ptr<Checkpoint> open_checkpoint(const std::string& path, const std::function<bool()>& cancelled = {},
                                            int threads = 0, ExpertWeights experts = ExpertWeights::kMXFP4);

// Opens a checkpoint for its config and for what its tensors are: only headers are read, and no scales. In a folder with
// a config.json the weights need not be there, or not be whole; then there are no tensors. Throws what open_checkpoint()
// throws.
std::unique_ptr<Checkpoint> open_headers(const std::string& path, ExpertWeights experts = ExpertWeights::kMXFP4);

// Reads every converted tensor, so that `conversions` says what loading it changes, and all its scales are checked.
// Throws as open_checkpoint.
void convert_all(const Checkpoint& checkpoint, int threads = 0);

// Keeps the first of equal tokens.
void remove_repeated(std::vector<int32_t>& tokens);

}  // namespace oss
