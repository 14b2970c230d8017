// A layout: how a publisher names and packs the tensors, and how its config.json names the numbers.
#pragma once
#include <vector>

#include "native/loader/json_file.h"
#include "native/model/config.h"
#include "native/model/weights.h"

namespace oss {

struct Layout {
  const char* name;
  Config (*read_config)(const JsonReader& json);
  // The tensors that the files of a checkpoint with this config must hold, under their names in the files.
  std::vector<WeightSpec> (*file_specs)(const Config& config);
  // Converts the files' tensors, which satisfy file_specs, to canonical ones.
  Tensors (*canonical)(const Config& config, Tensors tensors);
};

extern const Layout kHuggingFaceLayout;
extern const Layout kOriginalLayout;

// Detects the layout by keys: only Hugging Face configs name a class, only original ones have num_experts without it.
const Layout& layout_of(const JsonReader& config);

}  // namespace oss
