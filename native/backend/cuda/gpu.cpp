#include "native/backend/cuda/gpu.h"

#include "native/backend/cuda/cuda_error.h"
#include "native/base/error.h"
#include "native/base/str.h"

namespace oss {

constexpr cuda::Status kErrorMemoryAllocation = 2;  // cudaErrorMemoryAllocation

Gpu::Gpu(const cuda::Module& module_, int device_) : module(module_), device(device_) {
  use();
  check(module.device_properties(device, &properties), "asking for the device's properties");
  check(module.create_stream(&stream), "making a stream");
}

Gpu::~Gpu() {
  module.use_device(device);
  module.destroy_stream(stream);
}

void Gpu::use() const { check(module.use_device(device), "choosing the device"); }

void Gpu::check(cuda::Status status, const char* what) const {
  if (status == 0) return;
  throw Error(Code::kDevice,
              str("CUDA device ", device, ": ", what, ": ", cuda_error_text(module, status), " (error ", status, ")"));
}

DeviceMemory Gpu::memory() const {
  use();
  size_t free_bytes = 0, total_bytes = 0;
  check(module.memory_info(&free_bytes, &total_bytes), "asking for free memory");
  return {.free_bytes = free_bytes, .total_bytes = total_bytes, .dedicated = true};
}

Buffer Gpu::allocate(size_t bytes, const char* what) {
  if (bytes == 0) return {};
  use();
  void* data = nullptr;
  const cuda::Status status = module.allocate(&data, bytes);
  if (status == kErrorMemoryAllocation) {
    const DeviceMemory now = memory();
    throw Error(Code::kOutOfMemory, str("CUDA device ", device, " has ", now.free_bytes, " bytes free of ",
                                        now.total_bytes, ", not the ", bytes, " for ", what));
  }
  check(status, "allocating memory");
  return Buffer(data, bytes, [gpu = shared_from_this()](void* memory, size_t) {
    gpu->module.use_device(gpu->device);
    gpu->module.release(memory);
  });
}

Buffer Gpu::allocate_pinned(size_t bytes, const char* what) {
  if (bytes == 0) return {};
  use();
  void* data = nullptr;
  const cuda::Status status = module.allocate_pinned(&data, bytes);
  if (status == kErrorMemoryAllocation) {
    throw Error(Code::kOutOfMemory, str("cannot pin ", bytes, " bytes of host memory for ", what));
  }
  check(status, "pinning host memory");
  return Buffer(data, bytes, [gpu = shared_from_this()](void* memory, size_t) {
    gpu->module.use_device(gpu->device);
    gpu->module.release_pinned(memory);
  });
}

void Gpu::copy(void* to, const void* from, size_t bytes) const {
  if (bytes > 0) check(module.copy(to, from, bytes, stream), "copying");
}

void Gpu::synchronize() const { check(module.synchronize(stream), "running what was queued"); }

GpuEvent::GpuEvent(std::shared_ptr<Gpu> gpu) : gpu_(std::move(gpu)) {
  gpu_->check(gpu_->module.create_event(&event_), "making an event");
}

GpuEvent::~GpuEvent() {
  gpu_->module.use_device(gpu_->device);
  gpu_->module.destroy_event(event_);
}

void GpuEvent::record() {
  gpu_->check(gpu_->module.record_event(event_, gpu_->stream), "recording an event");
  recorded_ = true;
}

void GpuEvent::await() {
  if (recorded_) gpu_->check(gpu_->module.await_event(event_), "waiting for an event");
}

double GpuEvent::seconds_until(const GpuEvent& later) const {
  float milliseconds = 0;
  gpu_->check(gpu_->module.elapsed(event_, later.event_, &milliseconds), "the time between two events");
  return milliseconds / 1000;
}

}  // namespace oss
