// The way of weights to the device: read from the file into pinned memory, from there copied to their place, or into a
// staging buffer there from which a kernel packs them. Three slots: one is being read into, one copied and packed, and one
// lets either be late without the other waiting. Synthetic tensors are made in the staging buffer.
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

  // All of them throw as HostTensor::read does.

  // Bytes [first, first + bytes) of a tensor, whole elements, to the device; `pack` queues what becomes of them there.
  void send(const HostTensor& tensor, size_t first, size_t bytes, const std::function<void(const void* raw)>& pack);
  // A tensor to its place, as it is.
  void send(const HostTensor& tensor, void* to);
  // A BF16 or F32 tensor to its place, as F32.
  void send_f32(const HostTensor& tensor, void* to);
  // Until everything that was sent has been packed.
  void finish();

  static constexpr size_t kPieceBytes = 32 << 20;  // 0.6 ms of a PCIe 5 link: long against the start of a copy

 private:
  struct Slot {
    explicit Slot(std::shared_ptr<Gpu> gpu) : packed(std::move(gpu)) {}
    Buffer pinned, raw;
    GpuEvent packed;  // its contents are not needed any more
  };
  // Writes bytes [begin, end) of what is sent.
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
