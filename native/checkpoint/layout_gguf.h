// The GGUF layout of gpt-oss: llama.cpp's names, and those of Ollama.
#pragma once
#include <functional>
#include <memory>
#include <string>

#include "native/checkpoint/checkpoint.h"
#include "native/checkpoint/stored_tensors.h"
#include "native/loader/gguf_metadata.h"

namespace oss {

// Reads only the headers. Experts that are floats get the wanted format. Throws as open_checkpoint.
std::unique_ptr<Checkpoint> open_gguf(const std::string& path, ExpertWeights experts);

// The config in the metadata. Numbers that it leaves out come from the shapes of tensors, as Ollama does it. `ollama` is
// set for the architecture name "gptoss". Throws kUnsupported for other architectures.
Config read_gguf_config(const GgufMetadata& metadata, const StoredTensors& tensors, bool& ollama);

// Throws kUnsupported for a full-size vocabulary that is not o200k_harmony. Smaller ones belong to test models.
void check_gguf_vocabulary(const GgufMetadata& metadata, int vocab, bool ollama);

}  // namespace oss
