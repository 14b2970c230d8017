// The adapters of requests on a GPU: their factors and the tables of their terms, and in each step which token has which.
#pragma once
#include <memory>
#include <mutex>

#include "native/backend/cuda/gpu.h"

namespace oss {

class CudaAdapters {
 public:
  explicit CudaAdapters(std::shared_ptr<Gpu> gpu) : gpu_(std::move(gpu)) {}

  // Must be called before the rest.
  void reserve_workspace(const StepLimits& limits) { limits_ = limits; }
  static uint64_t work_bytes(const StepLimits& limits);
  static uint64_t table_bytes(int layers, int experts);

  // Backend::hold_adapter(). The first call also takes the work memory: most engines have no adapters.
  std::shared_ptr<const AdapterWeights> hold(const AdapterWeights& host);

  // For steps in which a token has an adapter. begin() queues the copy of what they read, and after their launches
  // finish() marks their end.
  void begin(const Step& step);
  void finish();
  cuda::LowRankStep device() const { return {work_->table(), work_->sums}; }

 private:
  // The end of the last step with adapters. An adapter waits for it before it frees its memory, on any thread.
  struct LastUse {
    explicit LastUse(std::shared_ptr<Gpu> gpu) : event(std::move(gpu)) {}
    std::mutex mutex;
    GpuEvent event;
  };
  struct Held;  // one adapter
  struct Work {
    Work(const std::shared_ptr<Gpu>& gpu, const StepLimits& limits);
    const cuda::LowRankTerm* const* table() const { return memory.as<const cuda::LowRankTerm*>(); }

    Buffer memory, pinned;  // the table of the tokens' adapters on the device, then the sums; the table on the host
    float* sums;
    GpuEvent copied;
    std::shared_ptr<LastUse> last_use;
  };

  std::shared_ptr<Gpu> gpu_;
  StepLimits limits_;
  std::unique_ptr<Work> work_;
};

}  // namespace oss
