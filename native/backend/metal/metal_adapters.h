// The adapters of requests on a Metal GPU: their factors and the tables of their terms, and in each step which rows
// have which.
#pragma once
#include <memory>
#include <mutex>
#include <vector>

#include "native/backend/backend.h"
#include "native/backend/metal/encoder.h"
#include "native/backend/metal/operations.h"

namespace oss {

class MetalAdapters {
 public:
  explicit MetalAdapters(std::shared_ptr<metal::Device> device) : device_(std::move(device)) {}

  // Must be called before the rest.
  void reserve_workspace(const StepLimits& limits) { limits_ = limits; }
  static uint64_t work_bytes(const StepLimits& limits);
  static uint64_t table_bytes(int layers, int experts);

  // Backend::hold_adapter(). The first call also takes the work memory: most engines have no adapters.
  std::shared_ptr<const AdapterWeights> hold(const AdapterWeights& host);

  // For steps in which a token has an adapter. begin() fills the lists that they read, when `encoder` has done the step
  // before the last one. After their commit, finish() marks their end.
  void begin(const Step& step, metal::Encoder& encoder);
  void finish(const metal::Encoder& encoder, uint64_t commit);
  // Those of all rows, and those of tokens [first, first + count). Valid until the next call.
  metal::LowRankStep of(RowsOf rows) const;
  metal::LowRankStep of_tokens(int first, int count);

 private:
  // The end of the last step with adapters. An adapter waits for it before it frees its memory, on any thread.
  struct LastUse {
    std::mutex mutex;
    std::shared_ptr<metal::Commands> commands;
  };
  struct Held;  // one adapter
  struct Lists {
    int32_t *tokens, *rows, *place;
  };
  struct Set {
    Lists lists;
    uint64_t used_by = 0;  // the number of a commit
  };
  struct Work {
    Work(const std::shared_ptr<metal::Device>& device, const StepLimits& limits);

    Buffer memory;
    Set sets[2];  // the host fills one while the GPU reads the other
    float *sums, *terms;
    std::shared_ptr<LastUse> last_use = std::make_shared<LastUse>();
  };
  struct Parted {
    Lists lists[2];
    float *sums, *terms;
    size_t bytes;
  };
  static Parted parts_of(std::byte* memory, const StepLimits& limits);

  const std::shared_ptr<metal::Device> device_;
  StepLimits limits_;
  std::unique_ptr<Work> work_;
  int current_ = 0;                                  // of the sets
  std::vector<metal::RowsOfAdapter> tokens_, rows_;  // of the step
  std::vector<metal::RowsOfAdapter> portion_;
};

}  // namespace oss
