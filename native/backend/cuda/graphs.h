// CUDA graphs behind run(key, body): the launches of `body` are recorded once per key and replayed from then on. Data
// that differs between two steps with one key is in device memory at fixed addresses.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <memory>

#include "native/backend/cuda/gpu.h"

namespace oss {

// All values that the launches of a step depend on.
struct StepKey {
  int32_t tokens = 0, rows = 0, splits = 0;  // capacities
  auto operator<=>(const StepKey&) const = default;
};

class Graphs {
 public:
  explicit Graphs(std::shared_ptr<Gpu> gpu) : gpu_(std::move(gpu)) {}
  ~Graphs();
  Graphs(const Graphs&) = delete;
  Graphs& operator=(const Graphs&) = delete;

  void run(const StepKey& key, const std::function<void()>& body);
  // The launches of `body`, recorded instead of run. Their kernels have run before. The caller destroys it.
  void* record(const std::function<void()>& body);
  size_t size() const { return graphs_.size(); }

 private:
  struct Entry {
    void* graph = nullptr;
    uint64_t last_use = 0;
  };

  void forget_oldest();

  std::shared_ptr<Gpu> gpu_;
  std::map<StepKey, Entry> graphs_;
  uint64_t uses_ = 0;
};

}  // namespace oss
