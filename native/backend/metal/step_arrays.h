// The arrays of a step in memory that CPU and GPU share. There are two sets, so that the host fills one while the GPU
// reads the other.
#pragma once
#include <memory>
#include <span>

#include "native/backend/backend.h"
#include "native/backend/metal/encoder.h"
#include "native/backend/metal/operations.h"

namespace oss {

class StepArraysRing {
 public:
  // apart: every token attends alone, so that sums do not depend on how prompts are cut.
  StepArraysRing(const std::shared_ptr<metal::Device>& device, const StepLimits& limits, bool apart);
  static uint64_t bytes(const StepLimits& limits);

  // Fills the set that the step before the last one used, when `encoder` has done its work.
  const metal::StepArrays& fill(const Step& step, metal::Encoder& encoder);
  // The number of the commit that reads the current set.
  void used_by(uint64_t commit) { sets_[current_].used_by = commit; }

 private:
  struct Set {
    Buffer memory;
    metal::StepArrays arrays;
    uint64_t used_by = 0;
  };
  void fill(const Step& step, Set& set) const;

  const bool apart_;
  Set sets_[2];
  int current_ = 0;
};

// Parameters and results of draws. Only one set of draws runs at a time.
class SamplingArrays {
 public:
  SamplingArrays(std::shared_ptr<metal::Device> device, int max_rows, int vocab);
  static uint64_t bytes(int max_rows, int vocab);

  // No draw may run.
  metal::SampleInputs fill(std::span<const SamplingArgs> args, std::span<const SamplingContext> contexts);
  SampleResult* results() const { return results_.as<SampleResult>(); }

 private:
  std::shared_ptr<metal::Device> device_;
  Buffer parameters_;  // grows only for unusually long lists
  Buffer results_;
};

}  // namespace oss
