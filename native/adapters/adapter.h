// A LoRA adapter in PEFT's files: adapter_config.json and adapter_model.safetensors. It is read and checked against the
// config of the model; its matrices stay in the mapped file.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "native/adapters/factor_view.h"
#include "native/loader/safetensors.h"
#include "native/model/config.h"

namespace oss {

// The change of one matrix [out, in]: scale · B A.
struct LowRankFactors {
  FactorView a;  // [rank, in]
  FactorView b;  // [out, rank]
  float scale = 0;

  int rank() const { return a.rows; }
  bool empty() const { return a.rows == 0; }
};

struct Adapter {
  std::string path;  // as given
  float scale = 1;   // the caller's factor, part of each LowRankFactors::scale
  SafetensorsFile file;
  // By the canonical name of the weight, without "_blocks" for experts. Dense weights have one element, experts one for
  // each expert; those of experts that the adapter leaves alone are empty.
  std::map<std::string, std::vector<LowRankFactors>> targets;
  int rank = 0;  // the greatest

  // Bytes of the factors in bf16: what an adapter takes beside the model.
  uint64_t bytes() const;
  // A number that changes with the files and the scale.
  uint64_t fingerprint() const;
};

// `path` is the adapter's folder, or its .safetensors file beside adapter_config.json. `scale` multiplies what the
// adapter adds. Throws kModelNotFound, kModelFormat, kModelShape or kUnsupported with a sentence that names file,
// tensor, expected and found.
std::shared_ptr<const Adapter> read_adapter(const std::string& path, float scale, const Config& config);

}  // namespace oss
