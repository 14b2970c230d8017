// One GPU of an engine: a device, a stream, memory with a clear error when it is full, and error texts.
#pragma once
#include <memory>

#include "kernels/cuda/module.h"
#include "native/backend/backend.h"

namespace oss {

class Gpu : public std::enable_shared_from_this<Gpu> {
 public:
  Gpu(const cuda::Module& module, int device);
  ~Gpu();
  Gpu(const Gpu&) = delete;
  Gpu& operator=(const Gpu&) = delete;

  // CUDA keeps a current device per thread; this sets it before calls into the module.
  void use() const;
  // Throws kDevice: the engine stops, the process keeps running.
  void check(cuda::Status status, const char* what) const;

  DeviceMemory memory() const;
  Buffer allocate(size_t bytes, const char* what);         // on the device; throws kOutOfMemory with numbers
  Buffer allocate_pinned(size_t bytes, const char* what);  // on the host; copies from it can run asynchronously

  // Queued on the stream; host memory must stay unchanged until the copy has run.
  void copy(void* to, const void* from, size_t bytes) const;
  void synchronize() const;

  const cuda::Module& module;
  const int device;
  cuda::DeviceProperties properties{};
  cuda::Stream stream = nullptr;
};

// A point in a stream that the host can wait for.
class GpuEvent {
 public:
  explicit GpuEvent(std::shared_ptr<Gpu> gpu);
  ~GpuEvent();
  GpuEvent(const GpuEvent&) = delete;
  GpuEvent& operator=(const GpuEvent&) = delete;

  void record();
  void await();                                       // returns at once when nothing was recorded
  double seconds_until(const GpuEvent& later) const;  // both have been recorded and awaited

 private:
  std::shared_ptr<Gpu> gpu_;
  void* event_ = nullptr;
  bool recorded_ = false;
};

}  // namespace oss
