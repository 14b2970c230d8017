// The dispatches of a step and the bytes that each must move, without a GPU and without memory: what `gpt-oss plan
// --kernels` shows. A step is encoded by the same code as on a GPU.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "native/backend/metal/device.h"
#include "native/backend/step.h"
#include "native/backend/weight_packer.h"

namespace oss::metal {

struct PlannedKernel {
  std::string kernel;
  int dispatches = 0;         // of a step
  Groups groups;              // of its first dispatch
  uint32_t threads = 0;       // of a threadgroup
  uint64_t bytes = 0;         // that all its dispatches read and write, each once: of experts those that are chosen
  uint64_t weight_bytes = 0;  // the part of it that is weights
};

// A step of one token for each of `sequences` sequences, or of a prompt of `tokens` tokens of one sequence.
struct PlannedStep {
  int tokens = 1;     // of each sequence
  int sequences = 1;  // more than 1 only with one token
  int keys = 0;       // that each sequence has before the step
};

// By kernel, in the order of their first dispatch. windows: of each layer; 0: full attention. limits: the model's
// shapes. Different tokens choose different experts, as far as there are experts.
std::vector<PlannedKernel> plan_step(const StepLimits& limits, std::span<const int> windows, DenseWeights, KvType,
                                     const PlannedStep&);

}  // namespace oss::metal
