// Sends weights to the device. They are read from the file into pinned memory and copied to their destination, or to a
// staging buffer on the device from which a kernel packs them. There are three slots: one is being read, one is copied
// and packed, and the third absorbs delays of either. Synthetic tensors are generated in the staging buffer.
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

  // All of these throw the errors of HostTensor::read.

  // Sends bytes [first, first + bytes) of a tensor, whole elements, to the device; `pack` queues the kernel there.
  void send(const HostTensor& tensor, size_t first, size_t bytes, const std::function<void(const void* raw)>& pack);
  // Sends a tensor to its destination unchanged.
  void send(const HostTensor& tensor, void* to);
  // Sends a BF16 or F32 tensor to its destination as F32.
  void send_f32(const HostTensor& tensor, void* to);
  // Waits until all data is packed.
  void finish();

  static constexpr size_t kPieceBytes = 32 << 20;  // 0.6 ms of a PCIe 5 link: long compared with the start of a copy

 private:
  struct Slot {
    explicit Slot(std::shared_ptr<Gpu> gpu) : packed(std::move(gpu)) {}
    Buffer pinned, raw;
    GpuEvent packed;  // its contents are no longer needed
  };
  // Writes bytes [begin, end) of the data to send.
  using Fill = std::function<void(size_t begin, size_t end, std::byte* pinned)>;

  Slot& next_slot(size_t pinned_bytes, size_t raw_bytes);
  void fill_slot(Slot& slot, size_t first, size_t bytes, const Fill& fill);
  void send_pieces(size_t bytes, void* to, const Fill& fill);
  void synthesize(const HostTensor& tensor, size_t first, size_t bytes, void* to);

  std::shared_ptr<Gpu> gpu_;
  ThreadPool pool_;
  Slot slots_[3];
  int next_ = 0;
};

}  // namespace oss
