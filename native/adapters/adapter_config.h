// adapter_config.json of PEFT: the values that change what an adapter computes. Variants that it may ask for and that
// nothing here computes are refused by name.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "native/model/config.h"

namespace oss {

struct AdapterConfig {
  std::string file;
  std::string base_model;  // empty: not named
  int rank = 0;
  double alpha = 0;
  bool rank_stabilized = false;  // scale alpha / √rank
  // By the name of a module, or its end after a dot.
  std::vector<std::pair<std::string, double>> rank_pattern, alpha_pattern;

  // `modules`: the names that PEFT may know the matrix by.
  int rank_of(const std::vector<std::string>& modules) const;
  double alpha_of(const std::vector<std::string>& modules) const;
  // What the product of B and A is multiplied with.
  double scale_of(const std::vector<std::string>& modules, int rank) const;
};

// Throws kModelNotFound, kModelFormat or kUnsupported.
AdapterConfig read_adapter_config(const std::string& path);

// Throws kModelShape if the adapter was trained on the other one of the two released models.
void check_base_model(const AdapterConfig& adapter, const Config& model);

}  // namespace oss
