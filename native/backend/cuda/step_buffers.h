// The arrays of a step on host and device: filled in pinned memory, copied to the same device addresses each time.
#pragma once
#include <memory>
#include <span>

#include "native/backend/backend.h"
#include "native/backend/cuda/gpu.h"

namespace oss {

// The numbers of a step that determine its launches.
struct StepFacts {
  int tiles = 0;    // chunks of prompts that attention computes together
  int singles = 0;  // tokens that attend alone
  int splits = 1;   // the most parts into which the keys of one such token are divided, on layers with full attention
};

class StepBuffers {
 public:
  // apart: every token attends alone, so that sums do not depend on how prompts are cut. drawn: the device's draws.
  StepBuffers(std::shared_ptr<Gpu> gpu, const StepLimits& limits, bool apart, const cuda::SampleResult* drawn);
  static uint64_t bytes(const StepLimits& limits);

  // Queues the copies.
  StepFacts upload(const Step& step);

  const cuda::DeviceStep& device() const { return device_; }

 private:
  StepFacts fill(const Step& step);
  void upload_tables(const Step& step);

  std::shared_ptr<Gpu> gpu_;
  const bool apart_;
  const int max_pages_;
  const size_t token_bytes_;  // bytes of all arrays except the block tables
  Buffer host_, device_memory_;
  cuda::DeviceStep device_{};
  // The same arrays in pinned memory.
  cuda::StepCounts* counts_ = nullptr;
  int32_t *tokens_ = nullptr, *positions_ = nullptr, *sequence_ = nullptr, *logit_tokens_ = nullptr,
          *singles_ = nullptr;
  cuda::AttentionTile* tiles_ = nullptr;
  float* rope_ = nullptr;
  int32_t* block_tables_[kKvGroups] = {};  // the device's current copy
  GpuEvent copied_;
};

// The same for draws: parameters up, tokens down. Only one set of draws runs at a time.
class SamplingBuffers {
 public:
  SamplingBuffers(std::shared_ptr<Gpu> gpu, int max_rows, int vocab);
  static uint64_t bytes(int max_rows, int vocab);

  struct Device {
    const int32_t* num_rows;
    const cuda::SampleRow* rows;
    const cuda::SampleSeen* seen;
    const cuda::SampleBias* bias;
  };
  // Queues the copies of all inputs of the draws.
  Device upload(std::span<const SamplingArgs> args, std::span<const SamplingContext> contexts);
  // The address of the draws' results, valid until the next draws.
  cuda::SampleResult* results() const { return device_results_.as<cuda::SampleResult>(); }
  // Queues the copy of the results.
  void download(int rows);
  // Waits for the download.
  std::span<const cuda::SampleResult> await();

 private:
  std::shared_ptr<Gpu> gpu_;
  Buffer parameters_, host_parameters_;  // grow only for unusually long lists
  Buffer device_results_, host_results_;
  GpuEvent done_;
  int rows_ = 0;
};

}  // namespace oss
