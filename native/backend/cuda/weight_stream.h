// The way of weights to the device: from the mapped file through pinned memory into a staging buffer there, from which a
// kernel packs them. Two slots, so that the host copies one piece while the device works on the other. Synthetic tensors
// are made in the staging buffer.
#pragma once
#include <functional>
#include <memory>

#include "native/backend/cuda/gpu.h"
#include "native/base/tensor.h"
#include "native/base/thread_pool.h"

namespace oss {

class WeightStream {
 public:
  explicit WeightStream(std::shared_ptr<Gpu> gpu);

  // Bytes [first, first + bytes) of a tensor, whole elements, to the device; `pack` queues what becomes of them there.
  void send(const HostTensor& tensor, size_t first, size_t bytes, const std::function<void(const void* raw)>& pack);
  // A tensor as it is, or other bytes of the host, to their place.
  void send(const HostTensor& tensor, void* to);
  void send(const void* from, size_t bytes, void* to);
  // Until everything that was sent has been packed.
  void finish();

  static constexpr size_t kPieceBytes = 32 << 20;  // 0.6 ms of a PCIe 5 link: long against the start of a copy

 private:
  struct Slot {
    explicit Slot(std::shared_ptr<Gpu> gpu) : packed(std::move(gpu)) {}
    Buffer pinned, raw;
    GpuEvent packed;  // its contents are not needed any more
  };
  void synthesize(const HostTensor& tensor, size_t first, size_t bytes, void* to);
  Slot& next_slot(size_t pinned_bytes, size_t raw_bytes);
  void copy_to_pinned(const std::byte* from, size_t bytes, std::byte* to);

  std::shared_ptr<Gpu> gpu_;
  ThreadPool pool_;
  Slot slots_[2];
  int next_ = 0;
};

}  // namespace oss
