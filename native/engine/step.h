// Builds the flat arrays of a step. The arrays keep their addresses in all steps.
#pragma once
#include <vector>

#include "native/backend/backend.h"
#include "native/engine/scheduler.h"
#include "native/model/rope.h"

namespace oss {

class StepBuilder {
 public:
  StepBuilder(const Config& config, int max_tokens, int max_sequences, int max_pages);

  void begin();
  // Adds the part of a sequence, whose pages must reach to the end of the part.
  void add(const Scheduler::Part& part);
  const Step& finish();

 private:
  RopeTable rope_;
  size_t rope_row_;
  int max_pages_;
  std::vector<int32_t> tokens_, positions_, sequence_, logit_tokens_;
  std::vector<int32_t> block_tables_[kKvGroups];
  std::vector<float> rope_rows_;
  std::vector<const AdapterWeights*> adapters_;
  bool any_adapter_ = false;
  int num_tokens_ = 0, num_sequences_ = 0, num_rows_ = 0;
  Step step_;
};

}  // namespace oss
